package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"groom/api"
)

// settingsOf parses a command line of the agent and returns its flags and their origins.
func settingsOf(t *testing.T, args ...string) (*pflag.FlagSet, map[string]string, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "agent"}
	new(agentOptions).AddFlags(cmd.Flags())
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	origin, err := settle(cmd)
	return cmd.Flags(), origin, err
}

func TestWhereASettingComesFrom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "groom.yaml")
	if err := os.WriteFile(file, []byte("max-tasks: 7\nname: from-file\nlocal-dir: [/a, /b]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GROOM_NAME", "from-env")
	t.Setenv("GROOM_WEB_ADDR", "127.0.0.1:1")
	t.Setenv("GROOM_FRESH", "true") // no setting: a variable that stays set must not clear tables
	flags, origin, err := settingsOf(t, "--config", file, "--web-addr", "127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flag, value, from string }{
		{"web-addr", "127.0.0.1:2", fromFlag},
		{"name", "from-env", "GROOM_NAME"},
		{"max-tasks", "7", file},
		{"local-dir", "[/a,/b]", file},
		{"report-addr", "127.0.0.1:50001", fromDefault},
		{"fresh", "false", ""},
	} {
		if got := flags.Lookup(c.flag).Value.String(); got != c.value || origin[c.flag] != c.from {
			t.Errorf("--%s is %q from %q, want %q from %q", c.flag, got, origin[c.flag], c.value, c.from)
		}
	}
}

func TestWrongSettings(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no names", "max-tasks 5\n", ":1:1: want settings"},
		{"unknown", "max-task: 7\n", `:1:1: unknown setting "max-task"`},
		{"not a setting", "fresh: true\n", `unknown setting "fresh"`},
		{"wrong value", "\nmax-tasks: many\n", `:2:12: max-tasks: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "groom.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := settingsOf(t, "--config", file)
			if f, ok := errors.AsType[*failure](err); !ok || f.code != exitUsage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A task that calls groom has variables of its own in its environment: none of them is a setting of any verb.
func TestVariablesOfTasksAreNoSettings(t *testing.T) {
	taken := map[string]bool{}
	for _, name := range []string{
		api.EnvJob, api.EnvTask, api.EnvAttempt, api.EnvIndex, api.EnvTasks, api.EnvEpoch, api.EnvSocket, api.EnvReport,
		api.EnvToken, api.EnvOutput,
	} {
		taken[name] = true
	}
	forEach(newRoot("test"), func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if isSetting(f) && taken[envOf(f.Name)] {
				t.Errorf("%s: --%s can be set by %s", c.CommandPath(), f.Name, envOf(f.Name))
			}
		})
	})
}
