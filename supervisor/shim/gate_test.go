package shim

import (
	"os/exec"
	"strings"
	"testing"
)

// The shim takes over in init, before any package that it does not need itself. One import more, and each shim pays
// for the memory of that package and of all below it.
func TestImportsSyscallAndUnsafeOnly(t *testing.T) {
	list := func(args ...string) []string {
		out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	for _, name := range list("-f", `{{join .Imports "\n"}}`, ".") {
		if name != "syscall" && name != "unsafe" {
			t.Errorf("imports %s", name)
		}
	}
	below := map[string]bool{}
	for _, name := range list("-deps", "syscall") {
		below[name] = true
	}
	for _, name := range list("-deps", ".") {
		if !below[name] && name != "groom/supervisor/shim" {
			t.Errorf("depends on %s", name)
		}
	}
}
