// Command once does one thing to one attempt and says what came of it in JSON, so that tests can kill it at any point
// and look at a shim of a binary as it is shipped.
//
//	once start|adopt|stop|clean DIR ID TOKEN [COMMAND...]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"groom/api"
	"groom/supervisor"
)

func main() {
	ref := supervisor.Ref{Dir: os.Args[2], ID: api.AttemptID(os.Args[3]), Token: os.Args[4]}
	s := supervisor.New(supervisor.Options{})
	said, err := do(s, os.Args[1], ref, os.Args[5:])
	if err = errors.Join(err, s.Close()); err != nil {
		fmt.Fprintln(os.Stderr, "once:", err)
		os.Exit(3)
	}
	_ = json.NewEncoder(os.Stdout).Encode(said)
}

func do(s *supervisor.Supervisor, verb string, ref supervisor.Ref, argv []string) (any, error) {
	ctx := context.Background()
	var err error
	if ref.BootID, ref.PIDNS, err = supervisor.Host(); err != nil {
		return nil, err
	}
	switch verb {
	case "start":
		err := s.Start(ctx, supervisor.Spec{
			ID: ref.ID, Dir: ref.Dir, Token: ref.Token, Argv: argv, Env: []string{"PATH=/usr/bin:/bin"},
		})
		if err != nil {
			return nil, err
		}
		return <-s.Events(), nil
	case "adopt":
		return s.Adopt(ctx, ref)
	case "stop":
		f, err := s.Adopt(ctx, ref)
		if err != nil || f.Kind != api.FoundAlive {
			return supervisor.Event{Exit: f.Exit}, err
		}
		if err := s.Stop(ref.ID, supervisor.Order{By: api.ByStop, Signal: "SIGTERM", Grace: time.Hour}); err != nil {
			return nil, err
		}
		for e := range s.Events() {
			if e.Kind == supervisor.Ended {
				return e, nil
			}
		}
		return nil, supervisor.ErrClosed
	case "clean":
		root, err := os.OpenRoot(filepath.Dir(ref.Dir))
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return nil, supervisor.CleanUp(root, filepath.Base(ref.Dir))
	}
	return nil, fmt.Errorf("no verb %q", verb)
}
