package bsp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"groom/api"
	"groom/wire"
)

// pair is two peers that know each other as their groom would have told them.
func pair(t *testing.T, sameGroom bool) (a, b *Peer) {
	t.Helper()
	addrs := make([]api.PeerAddr, 2)
	var two [2]*Peer
	for i := range two {
		p := newPeer(&agent{born: time.Now()}, api.TaskInfo{Index: i, Tasks: 2, Epoch: 3, Secret: "of epoch 3"})
		t.Cleanup(p.close)
		near, err := p.listen("unix", "@groom-test-"+t.Name()+string(rune('a'+i)))
		if err != nil {
			t.Fatal(err)
		}
		far, err := p.listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		groom := "north"
		if i == 1 && !sameGroom {
			groom = "south"
		}
		addrs[i] = api.PeerAddr{Index: i, Groom: groom, Unix: near.Addr().String(), TCP: far.Addr().String()}
		two[i] = p
	}
	for _, p := range two {
		p.ctl = newControl(p, api.Hello{Epoch: 3, Index: p.Index()})
		if err := p.ctl.welcome(api.Welcome{Epoch: 3, Peers: addrs}); err != nil {
			t.Fatal(err)
		}
	}
	return two[0], two[1]
}

func TestNeighboursUseUnixSocketsAndOthersTCP(t *testing.T) {
	for network, same := range map[string]bool{"unix": true, "tcp": false} {
		t.Run(network, func(t *testing.T) {
			a, b := pair(t, same)
			if a.spans.Load() == same {
				t.Errorf("the job spans grooms: %v", a.spans.Load())
			}
			c, err := a.dialPeer(1)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.RemoteAddr().Network(); got != network {
				t.Errorf("connected by %s", got)
			}
			a.work.Go(a.routes[1].write)
			in := NewChan(b, "x", F64, None)
			NewChan(a, "x", F64, None).Send(1, 9, 2.5)
			sent := a.flush()
			if err := b.receiveAll(api.Release{Expect: map[int]api.Count{0: sent[1]}}); err != nil {
				t.Fatal(err)
			}
			for i, v := range in.Recv() {
				if i != 9 || v != 2.5 {
					t.Errorf("received %v at %d", v, i)
				}
			}
			if sent[1] != (api.Count{Messages: 1, Bytes: 12}) {
				t.Errorf("sent %v", sent)
			}
		})
	}
}

func TestStrangersAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		secret   secret
		from, to int
	}{
		"another secret": {secret{"guessed", 3}, 0, 1},
		"no secret":      {secret{"", 3}, 0, 1},
		"an older epoch": {secret{"of epoch 3", 2}, 0, 1},
		"another peer":   {secret{"of epoch 3", 3}, 0, 0},
		"no peer at all": {secret{"of epoch 3", 3}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, b := pair(t, true)
			conn, err := net.Dial("tcp", b.listeners[1].Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := c.secret.greet(conn, c.from, c.to); err == nil {
				t.Error("it was let in")
			}
			if b.alive.Err() != nil {
				t.Errorf("the peer died of it: %v", b.cause())
			}
		})
	}
}

// filled is a block with some bytes and so many messages.
func filled(epoch, step, seq, messages, bytes int, last bool) block {
	b := make(block, blockHead+bytes)
	b.head(epoch, step, 1, seq, messages, formRecords)
	if last {
		b.set(24, b.u32(24)|lastBlock)
	}
	return b
}

func TestNoMessageIsLostInSilence(t *testing.T) {
	expect := map[int]api.Count{0: {Messages: 3, Bytes: 30}}
	for name, c := range map[string]struct {
		blocks []block
		want   error
		done   bool
	}{
		"all is there":                {[]block{filled(3, 0, 0, 1, 10, false), filled(3, 0, 1, 2, 20, true)}, nil, true},
		"a block is still under way":  {[]block{filled(3, 0, 0, 1, 10, false)}, nil, false},
		"nothing came yet":            {nil, nil, false},
		"a message is missing":        {[]block{filled(3, 0, 0, 2, 30, true)}, ErrLost, false},
		"bytes are missing":           {[]block{filled(3, 0, 0, 3, 29, true)}, ErrLost, false},
		"more than announced":         {[]block{filled(3, 0, 0, 4, 30, false)}, ErrLost, false},
		"a block was skipped":         {[]block{filled(3, 0, 1, 3, 30, true)}, ErrLost, false},
		"a block came twice":          {[]block{filled(3, 0, 0, 1, 10, false), filled(3, 0, 0, 1, 10, false)}, ErrLost, false},
		"a block after the last":      {[]block{filled(3, 0, 0, 3, 30, true), filled(3, 0, 1, 1, 1, true)}, ErrLost, false},
		"a block of another epoch":    {[]block{filled(2, 0, 0, 3, 30, true)}, ErrForeign, false},
		"a block two steps ahead":     {[]block{filled(3, 2, 0, 3, 30, true)}, ErrForeign, false},
		"a block of the step to come": {[]block{filled(3, 1, 0, 9, 90, true), filled(3, 0, 0, 3, 30, true)}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInbox(2, 3, new(blocks))
			var err error
			for _, b := range c.blocks {
				if err == nil {
					err = in.add(0, b)
				}
			}
			done := false
			if err == nil {
				done, _, err = in.complete(expect)
			}
			if !errors.Is(err, c.want) || done != c.done {
				t.Errorf("done %v, error %v", done, err)
			}
		})
	}
	in := newInbox(2, 3, new(blocks))
	in.left(0)
	if _, lost, err := in.complete(expect); len(lost) != 1 || err != nil {
		t.Errorf("after the end of the connection: lost %v, error %v", lost, err)
	}
	if done, lost, err := in.complete(nil); !done || lost != nil || err != nil {
		t.Errorf("after the end of a connection that was not needed: %v, %v, %v", done, lost, err)
	}
	in.turn()
	if err := in.add(0, filled(3, 0, 0, 1, 1, true)); !errors.Is(err, ErrForeign) {
		t.Errorf("a block of a step that is over: %v", err)
	}
}

// A peer that lost touch with another waits to be rolled back, and fails only when nobody ends the epoch.
func TestABrokenConnectionIsNotTheSurvivorsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(&agent{born: time.Now()}, api.TaskInfo{Tasks: 2})
		defer p.close()
		p.loseTouch(1, net.ErrClosed)
		time.Sleep(patience - time.Second)
		synctest.Wait()
		if p.alive.Err() != nil {
			t.Errorf("it died after %v: %v", patience-time.Second, p.cause())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := p.cause(); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "peer 1") {
			t.Errorf("cause %v", err)
		}
	})
}

// Only a job that spans grooms gives up when its groom is silent, and it does so before the lease of 15 s ends.
func TestSilenceOfTheGroom(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none")
	for spans, want := range map[bool]error{true: ErrSilence, false: nil} {
		synctest.Test(t, func(t *testing.T) {
			a := &agent{network: "unix", addr: nowhere, born: time.Now()}
			a.client = wire.Client{Base: "http://groom", HTTP: &http.Client{Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) },
			}}}
			p := newPeer(a, api.TaskInfo{Tasks: 2, Ping: api.Ping{Period: api.Duration(time.Second)}})
			defer p.close()
			p.spans.Store(spans)
			p.work.Go(p.ping)
			time.Sleep(silence - 2*time.Second)
			synctest.Wait()
			if p.alive.Err() != nil {
				t.Errorf("spans %v: it died too soon: %v", spans, p.cause())
			}
			time.Sleep(15*time.Second - silence)
			synctest.Wait()
			if err := p.cause(); !errors.Is(err, want) {
				t.Errorf("spans %v: cause %v", spans, err)
			}
		})
	}
}
