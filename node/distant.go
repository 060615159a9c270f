package node

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"strconv"
	"time"

	"groom/api"
	"groom/wire"
)

// distant is the masters of a groom in other processes. Each is asked in turn until one answers; what a master says,
// be it a refusal, is the answer.
type distant struct{ masters []*wire.Client }

var _ cluster = (*distant)(nil)

// patience bounds one question, so that a page of a groom without a master does not wait for long.
const patience = 2 * time.Second

func (d *distant) ask(ctx context.Context, f func(context.Context, *wire.Client) error) error {
	var errs []error
	for _, m := range d.masters {
		ask, cancel := context.WithTimeout(ctx, patience)
		err := f(ask, m)
		cancel()
		if p, ok := errors.AsType[*api.Problem](err); err == nil || ok && p.Code != api.CodeUnavailable {
			return err
		}
		errs = append(errs, err)
	}
	return api.Problemf(api.CodeUnavailable, "no master answers: %v", errors.Join(errs...)).
		WithHint("tasks run on; see `groom node status`, and whether `groom master` runs")
}

func get[T any](ctx context.Context, d *distant, path string) (T, error) {
	var reply T
	err := d.ask(ctx, func(ctx context.Context, m *wire.Client) error { return m.Get(ctx, path, &reply) })
	return reply, err
}

func post[T any](ctx context.Context, d *distant, path string, message any) (T, error) {
	var reply T
	err := d.ask(ctx, func(ctx context.Context, m *wire.Client) error { return m.Post(ctx, path, message, &reply) })
	return reply, err
}

// Jobs lists the jobs of the cluster.
func (d *distant) Jobs(ctx context.Context) ([]api.JobView, error) {
	return get[[]api.JobView](ctx, d, "/v1/jobs")
}

// Job is one job.
func (d *distant) Job(ctx context.Context, name string) (api.JobDetail, error) {
	return get[api.JobDetail](ctx, d, "/v1/jobs/"+url.PathEscape(name))
}

// Task is one task.
func (d *distant) Task(ctx context.Context, id string) (api.TaskDetail, error) {
	return get[api.TaskDetail](ctx, d, "/v1/tasks/"+url.PathEscape(id))
}

// Nodes lists the grooms.
func (d *distant) Nodes(ctx context.Context) ([]api.NodeView, error) {
	return get[[]api.NodeView](ctx, d, "/v1/nodes")
}

// Submit hands in a job. The request's id makes it safe to ask the next master after one that did not answer.
func (d *distant) Submit(ctx context.Context, r api.SubmitRequest) (api.Submission, error) {
	return post[api.Submission](ctx, d, "/v1/jobs", r)
}

// Act asks for a change.
func (d *distant) Act(ctx context.Context, r api.ActRequest) (api.ActReply, error) {
	return post[api.ActReply](ctx, d, "/v1/act", r)
}

// Logs reads a stream of an attempt that runs elsewhere, through the master.
func (d *distant) Logs(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error) {
	q := url.Values{"attempt": {string(id)}, "stream": {stream}, "offset": {strconv.FormatInt(offset, 10)}}
	if follow {
		q.Set("follow", "1")
	}
	var errs []error
	for _, m := range d.masters {
		chunks, err := wire.Lines[api.LogChunk](ctx, m, "/v1/logs?"+q.Encode())
		if err == nil {
			return chunks, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
