package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unit is the service as it is shipped: the values of each key, in the order in which they stand there.
func unit(t *testing.T) (text string, keys map[string][]string) {
	t.Helper()
	b, err := os.ReadFile("../../packaging/groom.service")
	if err != nil {
		t.Fatal(err)
	}
	keys = map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && line[0] != '#' {
			keys[key] = append(keys[key], value)
		}
	}
	return string(b), keys
}

// What tasks and their adoption depend on.
func TestServiceKeepsItsPromises(t *testing.T) {
	_, keys := unit(t)
	for key, want := range map[string]string{
		"Type":                  "notify",   // readiness and the watchdog are told
		"KillMode":              "process",  // tasks live on
		"Restart":               "always",   // whatever ended it
		"StartLimitIntervalSec": "0",        // however often
		"WatchdogSec":           "60s",      // more than ten times what groom feeds it by
		"Delegate":              "yes",      // limits of tasks
		"TasksMax":              "infinity", // tasks are not bounded as one service
		"OOMScoreAdjust":        "-900",     // tasks go first
		"OOMPolicy":             "continue", // and take nobody along
		"StateDirectory":        "groom",
		"StateDirectoryMode":    "0700",
	} {
		if got := keys[key]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %s", key, got, want)
		}
	}
	// What gives a service mounts, devices, a network or system calls of its own gives them to its tasks, and others to
	// the next groom.
	for key := range keys {
		for _, prefix := range []string{
			"Private", "Protect", "Restrict", "SystemCall", "NoNewPrivileges", "MemoryDeny", "Root", "Bind", "Inaccessible",
			"ReadOnly", "ReadWrite", "TemporaryFileSystem", "DynamicUser", "UMask", "RestartPrevent", "SuccessExitStatus",
		} {
			if strings.HasPrefix(key, prefix) {
				t.Errorf("%s must not be set", key)
			}
		}
	}
	for _, capability := range []string{"SETUID", "SETGID", "KILL", "CHOWN", "DAC_OVERRIDE", "SYS_RESOURCE", "SYS_PTRACE", "SYS_ADMIN"} {
		if slices.Contains(strings.Fields(keys["CapabilityBoundingSet"][0]), "CAP_"+capability) {
			t.Errorf("CAP_%s is taken away, and groom needs it for tasks of other users", capability)
		}
	}
}

// systemd has nothing to complain of, and the command that it starts is one.
func TestServiceIsVerified(t *testing.T) {
	text, keys := unit(t)
	path := filepath.Join(t.TempDir(), "groom.service")
	text = strings.ReplaceAll(text, "/usr/local/bin/groom", filepath.Join(bin, "groom"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := func() string {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput()
		if err != nil {
			return err.Error() + "\n" + string(out)
		}
		return string(out)
	}
	if out := verify(); out != "" {
		t.Error(out)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(text, "KillMode=", "KillNobody=", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := verify(); !strings.Contains(out, "KillNobody") {
		t.Errorf("a key that is none passes: %q", out)
	}

	command := strings.Fields(keys["ExecStart"][0])
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "groom"), append(command[1:], "--print-config")...)
	cmd.Env = append(os.Environ(), keys["Environment"]...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "/var/lib/groom  ") {
		t.Errorf("%v: %v\n%s", command, err, out)
	}
}
