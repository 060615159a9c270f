package bsp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A connection of the data plane carries what one peer sends to another, in one direction. It opens with a proof that
// both know the secret of the epoch; every number is little-endian:
//
//	to → from   nonce [16]
//	from → to   "groomBSP" [8], version u32, epoch u32, from u32, to u32, nonce [16], proof [32]
//	to → from   proof [32]
//
// Then come blocks:
//
//	 0  u32  length of the payload
//	 4  u32  epoch
//	 8  u32  step in which it was sent
//	12  u32  channel
//	16  u32  number of the block, from 0, for this receiver in this step
//	20  u32  messages in it
//	24  u32  form of the payload (low byte), lastBlock (bit 8)
//	28  payload
type block []byte

const (
	blockHead = 28
	blockSize = 256 << 10 // with its head; a longer message makes a longer block
	blockMax  = 1 << 30

	lastBlock = 1 << 8 // nothing follows in this step
)

// Forms of a payload.
const (
	formRecords = 0 // index u32, value: one after the other
	formWords   = 1 // word u32, mask u64, then a value for each bit of the mask: indexes 64·word + bit
)

// Errors of the data plane.
var (
	// ErrLost is returned when what a peer sent is not what another received.
	ErrLost = errors.New("messages lost")
	// ErrForeign is returned when data comes from another epoch, or from no peer of the job.
	ErrForeign = errors.New("foreign data")
)

func (b block) u32(at int) uint32    { return binary.LittleEndian.Uint32(b[at:]) }
func (b block) set(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
func (b block) epoch() int           { return int(b.u32(4)) }
func (b block) step() int            { return int(b.u32(8)) }
func (b block) channel() uint32      { return b.u32(12) }
func (b block) seq() int             { return int(b.u32(16)) }
func (b block) messages() int        { return int(b.u32(20)) }
func (b block) form() byte           { return b[24] }
func (b block) last() bool           { return b.u32(24)&lastBlock != 0 }
func (b block) payload() []byte      { return b[blockHead:] }
func (b block) head(epoch, step int, channel uint32, seq, messages int, form byte) {
	b.set(0, uint32(len(b)-blockHead))
	b.set(4, uint32(epoch))
	b.set(8, uint32(step))
	b.set(12, channel)
	b.set(16, uint32(seq))
	b.set(20, uint32(messages))
	b.set(24, uint32(form))
}

// blocks keeps buffers for use again, so that a step allocates nothing once the job is in its stride.
type blocks struct {
	mu   sync.Mutex
	free []block
}

// keepBlocks bounds what is kept: 16 MiB.
const keepBlocks = 64

// get is a block without payload, with room for a whole one.
func (p *blocks) get() block {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b[:blockHead]
	}
	return make(block, blockHead, blockSize)
}

func (p *blocks) put(b block) {
	if cap(b) != blockSize {
		return // a small or an outsized one
	}
	p.mu.Lock()
	if len(p.free) < keepBlocks {
		p.free = append(p.free, b)
	}
	p.mu.Unlock()
}

// read reads one block. It returns io.EOF only between blocks.
func (p *blocks) read(r io.Reader) (block, error) {
	var head [blockHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:])) + blockHead
	var b block
	switch {
	case n > blockMax:
		return nil, fmt.Errorf("read block of %d bytes: %w", n, ErrForeign)
	case n > blockSize || n < blockSize/8:
		b = make(block, n)
	default:
		b = p.get()[:n]
	}
	copy(b, head[:])
	if _, err := io.ReadFull(r, b[blockHead:]); err != nil {
		return nil, fmt.Errorf("read block: %w", noEOF(err))
	}
	return b, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

const (
	dataMagic   = "groomBSP"
	dataVersion = 1
	nonceLen    = 16
	greetingLen = len(dataMagic) + 4*4 + nonceLen + sha256.Size
)

// secret proves to another peer that this one belongs to its job and epoch.
type secret struct {
	key   string
	epoch int
}

func (s secret) proof(who string, from, to int, nonces ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(s.key))
	fmt.Fprintf(h, "%s %s %d %d %d ", dataMagic, who, s.epoch, from, to)
	for _, n := range nonces {
		h.Write(n)
	}
	return h.Sum(nil)
}

// greet opens a connection from one peer to another, and makes sure that the other is the one that was meant.
func (s secret) greet(c io.ReadWriter, from, to int) error {
	theirs, mine := make([]byte, nonceLen), make([]byte, nonceLen)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return fmt.Errorf("read greeting: %w", noEOF(err))
	}
	_, _ = rand.Read(mine) // never fails
	b := []byte(dataMagic)
	for _, v := range []int{dataVersion, s.epoch, from, to} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	b = append(append(b, mine...), s.proof("from", from, to, theirs, mine)...)
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	answer := make([]byte, sha256.Size)
	if _, err := io.ReadFull(c, answer); err != nil {
		return fmt.Errorf("read answer to greeting: %w", noEOF(err))
	}
	if !hmac.Equal(answer, s.proof("to", from, to, theirs, mine)) {
		return fmt.Errorf("answer to greeting: %w", ErrForeign)
	}
	return nil
}

// admit lets a connection to this peer in, and says whose it is.
func (s secret) admit(c io.ReadWriter, me, n int) (from int, err error) {
	mine := make([]byte, nonceLen)
	_, _ = rand.Read(mine) // never fails
	if _, err := c.Write(mine); err != nil {
		return 0, fmt.Errorf("greet: %w", err)
	}
	b := make([]byte, greetingLen)
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, fmt.Errorf("read greeting: %w", noEOF(err))
	}
	at := func(i int) int { return int(binary.LittleEndian.Uint32(b[len(dataMagic)+4*i:])) }
	theirs, proof := b[len(dataMagic)+16:][:nonceLen], b[greetingLen-sha256.Size:]
	from = at(2)
	switch {
	case string(b[:len(dataMagic)]) != dataMagic:
		return 0, fmt.Errorf("greeting: %w", ErrForeign)
	case at(0) != dataVersion:
		return 0, fmt.Errorf("greeting of version %d, this build speaks %d: %w", at(0), dataVersion, ErrForeign)
	case at(1) != s.epoch || at(3) != me || from >= n:
		return 0, fmt.Errorf("greeting from peer %d to peer %d in epoch %d, this is peer %d in epoch %d: %w",
			from, at(3), at(1), me, s.epoch, ErrForeign)
	case !hmac.Equal(proof, s.proof("from", from, me, mine, theirs)):
		return 0, fmt.Errorf("greeting without the secret of the epoch: %w", ErrForeign)
	}
	if _, err := c.Write(s.proof("to", from, me, mine, theirs)); err != nil {
		return 0, fmt.Errorf("answer greeting: %w", err)
	}
	return from, nil
}
