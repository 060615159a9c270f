package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"groom/api"
	"groom/fsm"
	"groom/server/barrier"
)

// openRounds tells the barriers which jobs run in which epoch here. It is told again after each change of the tables,
// which changes nothing for a round that is open.
func (g *Groom) openRounds(jobs []fsm.Job) {
	open := map[api.JobID]bool{}
	for _, j := range jobs {
		open[j.ID] = true
		if g.hands.rounds[j.ID] == j.Epoch {
			continue
		}
		g.hands.rounds[j.ID] = j.Epoch
		round := barrier.Job{
			ID: j.ID, Epoch: j.Epoch, Tasks: j.Tasks, Local: j.Local, Self: g.o.Home.ID,
			Secret: g.o.Home.Secret(secretName(j.ID, j.Epoch)),
		}
		if j.Root != nil {
			round.Root = *j.Root
		}
		g.hub.Begin(round)
	}
	for id, epoch := range g.hands.rounds {
		if !open[id] {
			g.hub.End(id, epoch, "the job has ended")
			g.steps.end(id)
			delete(g.hands.rounds, id)
		}
	}
}

// stepped keeps the record of a superstep, and shows it.
func (g *Groom) stepped(id api.JobID, step api.Superstep) {
	if err := g.steps.add(id, step); err != nil {
		g.log.Warn("keep superstep", "job", id, "step", step.Step, "err", err)
	}
	g.events.Publish(api.Event{
		Of: g.machine.Name(), Kind: "soft", Job: id, At: time.Now().UTC(),
		Words: fmt.Sprintf("superstep %d of epoch %d", step.Step, step.Epoch),
	})
}

// dialRoot reaches the groom where a job's barriers meet.
func (g *Groom) dialRoot(ctx context.Context, root api.RootAddr, id api.JobID, epoch int) (io.ReadWriteCloser, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", root.Worker)
	if err != nil {
		return nil, fmt.Errorf("reach root: %w", err)
	}
	q := url.Values{"job": {string(id)}, "epoch": {strconv.Itoa(epoch)}, "groom": {g.o.Home.ID}}
	header := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {streamProtocol},
		"Authorization": {"Bearer " + g.o.Home.Secret(secretName(id, epoch))},
	}
	// A root that accepts and does not answer must not hold the groom's end, or the next epoch's try.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(askPatience)) // a socket takes deadlines
	stream, err := askUpgrade(conn, root.Worker, "/v1/barrier?"+q.Encode(), header)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("join barrier: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	return stream, nil
}
