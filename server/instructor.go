package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"groom/api"
	"groom/fault"
	"groom/fsm"
	"groom/job"
	"groom/wire"
)

// instruct takes one directive: it is checked against the world, what it needs is made durable, and then the journal
// decides. Directives are taken one after another, in the order in which they come.
func (g *Groom) instruct(ctx context.Context, d api.Directive) (api.DirectiveReply, error) {
	g.instructing.Lock()
	defer g.instructing.Unlock()
	reply := api.DirectiveReply{Version: api.Version, Accepted: true}
	if reply.Index = g.accepted(d.ID); reply.Index > 0 {
		return reply, nil
	}
	o := fsm.Directed{Directive: d}
	if d.Launch != nil {
		if err := g.check(d); err != nil {
			return api.DirectiveReply{Version: api.Version, Rejected: err.Error()}, nil
		}
		// The spec and the secret are durable before the entry that relies on them. A kill here leaves files that no
		// row names; the next start removes them.
		if err := g.keep(&o); err != nil {
			return reply, unavailable(err)
		}
	}
	fault.Point("server.before-accept")
	index, err := g.observeAt(ctx, o)
	fault.Point("server.before-reply")
	switch {
	case errors.Is(err, fsm.ErrCluster):
		return reply, api.Problemf(api.CodeConflict, "%v", err)
	case errors.Is(err, fsm.ErrRefused), errors.Is(err, fsm.ErrUnknown):
		return api.DirectiveReply{Version: api.Version, Rejected: err.Error()}, nil
	case err != nil:
		return reply, unavailable(err)
	}
	reply.Index = index
	if d.Kind == api.DirectiveForget {
		g.unswept.Store(true)
		g.kick()
	}
	return reply, nil
}

// accepted is the index of the entry that holds a directive, 0 when there is none.
func (g *Groom) accepted(id string) (index uint64) {
	g.machine.View(func() { index = g.state.Directives.Index(id) })
	return index
}

// check finds what keeps a launch from ever being carried out here.
func (g *Groom) check(d api.Directive) error {
	spec := &d.Launch.Spec
	if err := job.Validate(*spec); err != nil {
		return fmt.Errorf("job file: %w", err)
	}
	for _, art := range spec.Artifacts {
		if _, err := os.Stat(art.Source); err != nil {
			return fmt.Errorf("artifact %s: %w", art.Name, err)
		}
	}
	if spec.Type == api.BSP && spec.Output != "" {
		return g.checkOutput(spec.Output, d.Job)
	}
	return nil
}

// keep writes the spec and the secret of a launch to their files, and leaves in the observation what the tables need.
func (g *Groom) keep(o *fsm.Directed) error {
	launch := *o.Directive.Launch
	canonical, err := json.Marshal(launch.Spec)
	if err != nil {
		return fmt.Errorf("encode spec: %w", err)
	}
	hash, err := g.o.Home.PutSpec(canonical)
	if err != nil {
		return err
	}
	if launch.Secret != "" {
		if err := g.o.Home.PutSecret(secretName(o.Directive.Job, o.Directive.Epoch), launch.Secret); err != nil {
			return err
		}
	}
	spec := launch.Spec
	o.Spec = hash
	o.Job = &fsm.Job{
		ID: o.Directive.Job, Name: spec.Name, Type: spec.Type, Spec: hash, Tasks: spec.Tasks,
		Stop: spec.Stop, Restart: spec.Restart, Pings: spec.Type == api.BSP || spec.Ping.Required,
		Retention: spec.Retention, Dump: spec.Ping.Dump, StopAfter: spec.StopAfterDisconnect,
	}
	launch.Spec, launch.Secret = api.JobSpec{}, ""
	o.Directive.Launch = &launch
	return nil
}

func secretName(id api.JobID, epoch int) string { return fmt.Sprintf("%s-%d", id, epoch) }

func (g *Groom) directives(w http.ResponseWriter, r *http.Request) {
	var d api.Directive
	if err := wire.Read(r, wire.Limit, &d); err != nil {
		wire.Answer(w, nil, err)
		return
	}
	if d.ID == "" {
		wire.Answer(w, nil, api.Problemf(api.CodeInvalid, "the directive has no id"))
		return
	}
	if _, err := api.ParseJobID(string(d.Job)); err != nil {
		wire.Answer(w, nil, api.Problemf(api.CodeInvalid, "%v", err))
		return
	}
	reply, err := g.instruct(r.Context(), d)
	if err == nil {
		g.log.Info("directive", "kind", d.Kind, "job", d.Job, "epoch", d.Epoch, "index", reply.Index, "rejected", reply.Rejected)
	}
	wire.Answer(w, reply, err)
}
