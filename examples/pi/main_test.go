package main

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"groom/bsp/bsptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEstimateDependsOnThePointsAlone(t *testing.T) {
	var first string
	for _, peers := range []int{1, 2, 5} {
		res := bsptest.Run(t, peers, map[string]string{"samples": "1000003"}, pi)
		b, err := os.ReadFile(filepath.Join(res.Output, "pi"))
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(b)
		}
		if string(b) != first {
			t.Errorf("%d peers: %s, was %s", peers, b, first)
		}
	}
	estimate, err := strconv.ParseFloat(strings.TrimSpace(first), 64)
	if err != nil || math.Abs(estimate-math.Pi) > 0.01 {
		t.Errorf("estimate %s, %v", first, err)
	}
}

func TestNoSamples(t *testing.T) {
	res := bsptest.Try(t, 1, map[string]string{"samples": "0"}, pi)
	if err := res.Errs[0]; err == nil || !strings.Contains(err.Error(), "config samples") {
		t.Errorf("error %v", err)
	}
}
