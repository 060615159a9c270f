// Command once does one thing to one attempt and says what came of it in JSON, so that tests can kill it at any point
// and look at a shim of a binary as it is shipped.
//
//	once start|adopt|stop|clean|leftovers GROOM SPEC
//
// GROOM is the groom's id, empty for none; SPEC is the spec of the attempt, in JSON.
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
	var spec supervisor.Spec
	if err := json.Unmarshal([]byte(os.Args[3]), &spec); err != nil {
		fmt.Fprintln(os.Stderr, "once:", err)
		os.Exit(3)
	}
	s := supervisor.New(supervisor.Options{Groom: os.Args[2]})
	said, err := do(s, os.Args[1], spec)
	if err = errors.Join(err, s.Close()); err != nil {
		fmt.Fprintln(os.Stderr, "once:", err)
		os.Exit(3)
	}
	_ = json.NewEncoder(os.Stdout).Encode(said)
}

func do(s *supervisor.Supervisor, verb string, spec supervisor.Spec) (any, error) {
	ctx := context.Background()
	ref := supervisor.Ref{Dir: spec.Dir, ID: spec.ID, Token: spec.Token}
	var err error
	if ref.BootID, ref.PIDNS, err = supervisor.Host(); err != nil {
		return nil, err
	}
	switch verb {
	case "start":
		if err := s.Start(ctx, spec); err != nil {
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
	case "leftovers":
		return s.Leftovers(ctx, func(api.AttemptID) bool { return false })
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
