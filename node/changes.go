package node

import (
	"context"
	"time"

	"groom/api"
)

// Changes tells that something may have changed: a journal entry, or progress that no journal holds.
type Changes struct {
	C    <-chan struct{}
	Stop func()
}

// settle is how long changes are gathered before they are told, so that a burst is told once.
const settle = 50 * time.Millisecond

// Changes begins to tell of changes, until it is stopped or ctx ends. The first is told at once.
func (n *Node) Changes(ctx context.Context) Changes {
	ctx, stop := context.WithCancel(ctx)
	out := make(chan struct{}, 1)
	out <- struct{}{}
	go func() {
		groom, master := n.events(ctx)
		timer := time.NewTimer(0)
		defer timer.Stop()
		<-timer.C
		pending := false
		for {
			var ok bool
			select {
			case <-ctx.Done():
				return
			case _, ok = <-groom:
			case _, ok = <-master:
			case <-timer.C:
				pending = false
				select {
				case out <- struct{}{}:
				default: // one waits to be seen already
				}
				continue
			}
			if !ok { // fell behind: whatever was missed is a change
				groom, master = n.events(ctx)
			}
			if !pending {
				pending = true
				timer.Reset(settle)
			}
		}
	}()
	return Changes{C: out, Stop: stop}
}

// events listens to the journals that there are; a nil channel never tells.
func (n *Node) events(ctx context.Context) (groom, master <-chan api.Event) {
	if n.Groom != nil {
		groom = n.Groom.Events(ctx, 0)
	}
	if n.Master != nil {
		master = n.Master.Events(ctx, 0)
	}
	return groom, master
}
