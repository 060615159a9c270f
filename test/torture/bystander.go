package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// bystanders are processes and files that are none of groom's business, and look as if they were.
type bystanders struct {
	reaper  *reaper
	log     *os.File
	procs   []*child
	signals string            // where they write what reached them
	files   map[string]string // contents by path
	data    string
}

// newBystanders starts processes that carry the variables of tasks, or the name of a shim.
func newBystanders(d dirs, data string, r *reaper) (*bystanders, error) {
	b := &bystanders{reaper: r, signals: filepath.Join(d.run, "signals"), files: map[string]string{}, data: data}
	var err error
	if b.log, err = os.Create(b.signals); err != nil {
		return nil, err
	}
	for _, env := range [][]string{
		{"GROOM_ATTEMPT=attempt_202601010000_0001_000000_1", "GROOM_TASK=task_202601010000_0001_000000", "GROOM_TOKEN=" + token},
		{"GROOM_ATTEMPT=attempt_202601010000_0001_000000_1", "GROOM_TOKEN="},
		nil,
	} {
		c, err := r.start(b.log, append(os.Environ(), env...), &syscall.SysProcAttr{Setsid: true}, d.task, d.marks, "stand", "0", "0", "groom-shim")
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
		b.procs = append(b.procs, c)
	}
	return b, b.foreign(d.foreign, "a", "sub/b")
}

// token looks like one, and is nobody's.
const token = "0123456789abcdef0123456789abcdef"

// settle puts foreign files between those of the groom, once it has made its directories.
func (b *bystanders) settle() error {
	local := filepath.Join(b.data, "local")
	own, err := filepath.Glob(filepath.Join(local, "groom-*", "attempts"))
	if err != nil || len(own) != 1 {
		return fmt.Errorf("find the groom's own directory below %s: %v, %w", local, own, err)
	}
	return errors.Join(
		b.foreign(local, "foreign", "groom-of-somebody-else/attempts/attempt_202601010000_0001_000000_1/ctl/spec"),
		b.foreign(own[0], "notes", "attempt_of_nobody/work/file"),
	)
}

func (b *bystanders) foreign(dir string, names ...string) error {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		b.files[path] = "this is " + name
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = f.WriteString(b.files[path])
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		// The names are to survive a loss of power as well.
		for at := filepath.Dir(path); len(at) >= len(dir); at = filepath.Dir(at) {
			if err := syncDir(at); err != nil {
				return err
			}
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// harmed tells what happened to them.
func (b *bystanders) harmed() []string {
	var found []string
	for _, c := range b.procs {
		if c.ended() {
			found = append(found, fmt.Sprintf("bystander %d ended: status %#x", c.pid, int(c.status)))
		}
	}
	if got, err := os.ReadFile(b.signals); err != nil || len(got) > 0 {
		found = append(found, fmt.Sprintf("signals reached bystanders: %q %v", got, err))
	}
	for path, want := range b.files {
		if got, err := os.ReadFile(path); errors.Is(err, fs.ErrNotExist) {
			found = append(found, "foreign file deleted: "+path)
		} else if string(got) != want {
			found = append(found, fmt.Sprintf("foreign file %s changed to %q: %v", path, got, err))
		}
	}
	return found
}

func (b *bystanders) close() error {
	for _, c := range b.procs {
		b.reaper.signal(c, syscall.SIGKILL)
		<-c.done
	}
	return b.log.Close()
}
