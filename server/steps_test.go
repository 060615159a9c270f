package server

import (
	"os"
	"testing"

	"groom/api"
	"groom/server/home"
)

func TestSupersteps(t *testing.T) {
	h, err := home.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s := newStepFiles(h)
	for i := range 5 {
		if err := s.add(outputJob, api.Superstep{Step: i}); err != nil {
			t.Fatal(err)
		}
	}
	s.end(outputJob)
	// A kill leaves a torn line; what comes after it is read all the same.
	f, err := os.OpenFile(s.path(outputJob), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"step":5,"mess` + "\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := s.add(outputJob, api.Superstep{Step: 6}); err != nil {
		t.Fatal(err)
	}
	got, err := s.newest(outputJob, 3)
	if err != nil || len(got) != 3 || got[0].Step != 3 || got[2].Step != 6 {
		t.Errorf("newest 3 are %v, %v", got, err)
	}
	if got, err := s.newest(outputOther, 3); err != nil || len(got) != 0 {
		t.Errorf("a job without supersteps has %v, %v", got, err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// The file is cut to its newest half when it is full, and goes on.
func TestSuperstepsAreCapped(t *testing.T) {
	h, err := home.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s := newStepFiles(h)
	defer s.close()
	for i := range maxSteps + 10 {
		if err := s.add(outputJob, api.Superstep{Step: i}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.newest(outputJob, 2*maxSteps)
	if err != nil || len(got) != maxSteps/2+10 || got[len(got)-1].Step != maxSteps+9 {
		t.Errorf("%d supersteps, the last is %v, %v", len(got), got[len(got)-1], err)
	}
}
