package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Where the value of a flag came from.
const (
	fromDefault = "default"
	fromFlag    = "flag"
)

// settingMark is the annotation of flags that are settings: those that the environment and a file may give as well.
const settingMark = "setting"

// markSettings makes every flag that is defined so far a setting. What only makes sense for one call is defined later.
func markSettings(fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[settingMark] = nil
	})
}

func isSetting(f *pflag.Flag) bool {
	_, ok := f.Annotations[settingMark]
	return ok
}

// settle gives each setting its value: from the command line, else from the environment (GROOM_WEB_ADDR for --web-addr),
// else from the configuration file when the command has one, else its default. It returns where each came from.
func settle(cmd *cobra.Command) (map[string]string, error) {
	origin := map[string]string{}
	var err error
	visit := func(f *pflag.Flag) {
		if !isSetting(f) {
			return
		}
		origin[f.Name] = fromDefault
		if f.Changed {
			origin[f.Name] = fromFlag
			return
		}
		name := envOf(f.Name)
		if value, ok := os.LookupEnv(name); ok && err == nil {
			origin[f.Name] = name
			if e := f.Value.Set(value); e != nil {
				err = fail(exitUsage, fmt.Errorf("%s=%q: %w", name, value, e), "%s --help", cmd.CommandPath())
			}
		}
	}
	cmd.Flags().VisitAll(visit)
	if err != nil {
		return nil, err
	}
	return origin, fromFile(cmd, origin)
}

func envOf(flag string) string { return "GROOM_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) }

// fromFile reads the file that --config names: one line a flag, such as "web-addr: 127.0.0.1:40015".
func fromFile(cmd *cobra.Command, origin map[string]string) error {
	config := cmd.Flags().Lookup("config")
	if config == nil || config.Value.String() == "" {
		return nil
	}
	path := config.Value.String()
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fail(exitUsage, fmt.Errorf("%s: %w", path, err), "write one line a flag, such as web-addr: 127.0.0.1:40015")
	}
	if len(doc.Content) == 0 {
		return nil
	}
	if n := doc.Content[0]; n.Kind != yaml.MappingNode {
		return fail(exitUsage, fmt.Errorf("%s:%d:%d: want settings, one a line", path, n.Line, n.Column),
			"write a name, a colon and a value, such as web-addr: 127.0.0.1:40015")
	}
	pairs := doc.Content[0].Content
	for i := 0; i+1 < len(pairs); i += 2 {
		key, value := pairs[i], pairs[i+1]
		f := cmd.Flags().Lookup(key.Value)
		if f == nil || !isSetting(f) {
			return fail(exitUsage, fmt.Errorf("%s:%d:%d: unknown setting %q", path, key.Line, key.Column, key.Value),
				"%s --help names them, without the dashes", cmd.CommandPath())
		}
		if origin[f.Name] != fromDefault {
			continue
		}
		origin[f.Name] = path
		texts := []string{value.Value}
		if value.Kind == yaml.SequenceNode {
			texts = nil
			for _, item := range value.Content {
				texts = append(texts, item.Value)
			}
		}
		for _, text := range texts {
			if err := f.Value.Set(text); err != nil {
				return fail(exitUsage, fmt.Errorf("%s:%d:%d: %s: %w", path, value.Line, value.Column, key.Value, err),
					"%s --help", cmd.CommandPath())
			}
		}
	}
	return nil
}

// printConfig shows each setting and where it came from.
func printConfig(cmd *cobra.Command, origin map[string]string) error {
	t := newListing(cmd.OutOrStdout(), "SETTING", "VALUE", "FROM")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if isSetting(f) {
			t.row(f.Name, f.Value.String(), origin[f.Name])
		}
	})
	return t.flush()
}

// defaultData is the data directory of the user: what every verb uses unless told another.
func defaultData() string {
	if os.Geteuid() == 0 {
		return "/var/lib/groom"
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		dir, err := os.UserHomeDir()
		if err != nil {
			return "groom-data"
		}
		base = filepath.Join(dir, ".local", "state")
	}
	return filepath.Join(base, "groom")
}
