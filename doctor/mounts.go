package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mount is a line of /proc/self/mountinfo.
type mount struct {
	root, point, kind string
	options           []string // of the mount, then of the file system
}

// option is the value of an option, the last given, or "".
func (m mount) option(name string) string {
	value := ""
	for _, o := range m.options {
		if v, ok := strings.CutPrefix(o, name+"="); ok {
			value = v
		}
	}
	return value
}

func (m mount) has(option string) bool { return slices.Contains(m.options, option) }

func readMounts() []mount {
	b, _ := os.ReadFile("/proc/self/mountinfo") // without it nothing is mounted, as far as can be told
	return parseMounts(string(b))
}

func parseMounts(text string) []mount {
	var all []mount
	for line := range strings.Lines(text) {
		// 36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/root rw
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 2 {
			continue
		}
		m := mount{root: unoctal(f[3]), point: unoctal(f[4]), kind: g[0], options: strings.Split(f[5], ",")}
		if len(g) > 2 {
			m.options = append(m.options, strings.Split(g[2], ",")...)
		}
		all = append(all, m)
	}
	return all
}

// unoctal undoes the escapes of spaces and the like.
func unoctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// holding is the mount that holds a path: of those that do, the longest, and of these the last.
func holding(mounts []mount, path string) mount {
	var best mount
	for _, m := range mounts {
		if (path == m.point || m.point == "/" || strings.HasPrefix(path, m.point+"/")) && len(m.point) >= len(best.point) {
			best = m
		}
	}
	return best
}

// standing is the path itself, or what there is of it: where it would be made.
func standing(path string) string {
	for {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
		if path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
