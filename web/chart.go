package web

import (
	"fmt"
	"time"

	"groom/api"
)

// chart draws how long the newest supersteps took: one bar a step, of the time in which the slowest peer computed, and
// above it the rest, which is sending and the barrier.
type chart struct {
	Width, Height int
	Most          time.Duration
	Bars          []bar
	First, Last   int
}

type bar struct {
	X, Width             float64
	Y, Height            float64 // all of the step
	ComputeY, ComputeTop float64 // of the slowest peer
	Title                string
}

const (
	chartSteps  = 60
	chartWidth  = 720
	chartHeight = 120
)

func newChart(steps []api.Superstep) *chart {
	steps = steps[max(0, len(steps)-chartSteps):]
	if len(steps) == 0 {
		return nil
	}
	c := &chart{Width: chartWidth, Height: chartHeight, First: steps[0].Step, Last: steps[len(steps)-1].Step}
	most := int64(1)
	for _, s := range steps {
		most = max(most, s.TookNS)
	}
	c.Most = time.Duration(most)
	width := float64(chartWidth) / float64(len(steps))
	for i, s := range steps {
		slowest := int64(0)
		for _, ns := range s.ComputeNS {
			slowest = max(slowest, ns)
		}
		slowest = min(slowest, s.TookNS)
		scale := func(ns int64) float64 { return float64(chartHeight) * float64(ns) / float64(most) }
		b := bar{X: float64(i) * width, Width: max(width-1, 1), Height: scale(s.TookNS), ComputeTop: scale(slowest)}
		b.Y, b.ComputeY = chartHeight-b.Height, chartHeight-b.ComputeTop
		b.Title = fmt.Sprintf("superstep %d of epoch %d: %s, slowest peer computed %s, %d messages, %d bytes", s.Step, s.Epoch,
			time.Duration(s.TookNS).Round(time.Microsecond), time.Duration(slowest).Round(time.Microsecond), s.Messages, s.Bytes)
		c.Bars = append(c.Bars, b)
	}
	return c
}
