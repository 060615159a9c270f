package clock

import "testing"

// The two clocks go on together, and within one boot the boot clock decides.
func TestNow(t *testing.T) {
	first := Now()
	second := Now()
	if d := second.Until(first); d < 0 || second.Boot < first.Boot {
		t.Errorf("%v after %v", second, first)
	}
	if first.ID == "" || first.ID != BootID() || first.ID != second.ID {
		t.Errorf("boot ids %q and %q", first.ID, second.ID)
	}
	if first.Wall.Location().String() != "UTC" {
		t.Errorf("wall clock in %s", first.Wall.Location())
	}
}
