package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"groom/fault"
)

func boltOptions(timeout time.Duration) *bbolt.Options {
	return &bbolt.Options{Timeout: timeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
}

// create makes an empty journal: its file, its buckets, and the one voter. All of it happens under another name, so
// that a kill before the rename leaves no journal, and a kill after it a whole one.
func create(o Options) error {
	if err := makeReserve(filepath.Join(o.Dir, reserveName), o.reserve); err != nil && noSpace(err) {
		return errors.Join(full("keep a reserve", err), os.Remove(filepath.Join(o.Dir, reserveName)))
	}
	path := filepath.Join(o.Dir, newName)
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	if err := bootstrap(o, path); err != nil {
		return errors.Join(full("make journal", err), os.Remove(path))
	}
	fault.Point("journal.before-create")
	if err := os.Rename(path, filepath.Join(o.Dir, dbName)); err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	fault.Point("journal.after-create")
	// The file is durable when its name is, and that of its directory: bbolt syncs the file alone.
	if err := syncDir(o.Dir); err != nil {
		return fmt.Errorf("make journal: %w", err)
	}
	if err := syncDir(filepath.Dir(o.Dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("make journal: %w", err) // one that we may not read was there before
	}
	return nil
}

func bootstrap(o Options, path string) error {
	db, err := openStore(path)
	if err != nil {
		return err
	}
	g := newGuard(o, o.wrap(db), &found{first: 1}, nil, nil)
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = voter, hclog.NewNullLogger()
	addr, transport := raft.NewInmemTransport(voter)
	self := raft.Configuration{Servers: []raft.Server{{ID: voter, Address: addr}}}
	if err = raft.BootstrapCluster(conf, g, g, raft.NewInmemSnapshotStore(), transport, self); g.why != nil {
		err = g.why
	}
	return errors.Join(err, db.Close())
}

// remains names something that only a journal leaves, or returns "".
func remains(dir string) string {
	if _, err := os.Stat(filepath.Join(dir, tailName)); err == nil {
		return tailName
	}
	for _, name := range []string{snapName, archiveName} {
		if left, err := os.ReadDir(filepath.Join(dir, name)); err == nil && len(left) > 0 {
			return name
		}
	}
	return ""
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeWhole replaces a small file so that a crash leaves the old one or the new one.
func writeWhole(dir, name string, b []byte) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}

// A bbolt file begins with two meta pages. Each holds, after a page header of 16 bytes: magic, version, page size and
// flags (4 bytes each), the root (16), the freelist, the number of pages, the transaction, and a checksum (8 each).
const (
	boltMagic     = 0xED0CDAED
	boltHeader    = 16
	boltMetaSize  = 64
	boltPages     = 40
	boltTx        = 48
	boltCheck     = 56
	boltPageSizes = 1 << 16 // no system has larger ones
)

// cut says whether a bbolt file is shorter than its own table says. bbolt maps its file into memory and does not look
// at its length; reading a page that is not there would end the process with SIGBUS.
func cut(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return full("open journal", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	if !info.Mode().IsRegular() {
		return corrupt(path, "it is no file")
	}
	var pages, size, newest uint64
	valid := false
	for at := int64(0); at <= boltPageSizes; at = max(1024, 2*at) { // page 0, then page 1 of any page size
		if valid && at != int64(size) {
			continue
		}
		meta := make([]byte, boltMetaSize)
		if _, err := f.ReadAt(meta, at+boltHeader); err != nil {
			break
		}
		h := fnv.New64a()
		_, _ = h.Write(meta[:boltCheck])
		if binary.NativeEndian.Uint32(meta) != boltMagic || h.Sum64() != binary.NativeEndian.Uint64(meta[boltCheck:]) {
			continue
		}
		if tx := binary.NativeEndian.Uint64(meta[boltTx:]); !valid || tx > newest {
			valid, newest = true, tx
			size = uint64(binary.NativeEndian.Uint32(meta[8:]))
			pages = binary.NativeEndian.Uint64(meta[boltPages:])
		}
	}
	switch {
	case !valid:
		return corrupt(path, "neither of its two meta pages is whole")
	case pages*size > uint64(info.Size()):
		return corrupt(path, "it is %d bytes long and should be at least %d: its end is missing", info.Size(), pages*size)
	}
	return nil
}

// giveUp ends the process after a write whose outcome is unknown. What is durable is read at the next start; tasks
// run on meanwhile. The marker tells that start why, if the disk takes it.
func giveUp(dir string, log *slog.Logger, err error) {
	log.Error("the journal cannot tell what is durable; ending", "err", err)
	_ = os.WriteFile(filepath.Join(dir, fatalName), []byte(err.Error()+"\n"), 0o600)
	os.Exit(70)
}

// warnOfFatal tells why the last process ended, once.
func warnOfFatal(o Options) {
	path := filepath.Join(o.Dir, fatalName)
	why, err := os.ReadFile(path)
	if err != nil {
		return // the usual case: there is none
	}
	o.Log.Warn("the last process ended because of its journal; what it had acknowledged is here",
		"why", strings.TrimSpace(string(why)))
	_ = os.Remove(path)
}
