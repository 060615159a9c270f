// Summary reads the events of `go test -json`, prints what failed and one line a package, and ends with the count of
// tests. A skipped test is a failure: what a test needs is installed, or said to be missing, before the tests run.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
)

type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := map[string][]string{} // of tests and packages that have not ended yet
	count := map[string]int{}
	var bad []string
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Print(string(line)) // go's own words, about a build that failed
			} else {
				bad = append(bad, take(e, output, count)...)
			}
		}
		if err != nil {
			break
		}
	}
	sort.Strings(bad)
	for _, b := range bad {
		fmt.Println(b)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	if len(bad) > 0 || count["pass"] == 0 {
		fmt.Println("FAIL")
		os.Exit(1)
	}
	fmt.Println("PASS")
}

// take counts one event and returns a line for the end when it is bad news.
func take(e event, output map[string][]string, count map[string]int) []string {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		output[key] = append(output[key], e.Output)
		return nil
	case "build-fail":
		fmt.Print(strings.Join(output[key], ""))
		return []string{"FAIL build " + e.Package}
	case "pass", "fail", "skip":
	default:
		return nil
	}
	told := output[key]
	delete(output, key)
	if e.Test == "" {
		switch e.Action {
		case "fail":
			fmt.Printf("%sFAIL\t%s\t%.3fs\n", strings.Join(told, ""), e.Package, e.Elapsed)
			return []string{"FAIL " + e.Package}
		case "pass":
			fmt.Printf("ok  \t%s\t%.3fs\n", e.Package, e.Elapsed)
		}
		return nil // a package without tests is "skip"
	}
	count[e.Action]++
	if e.Action == "pass" {
		return nil
	}
	fmt.Print(strings.Join(told, ""))
	return []string{strings.ToUpper(e.Action) + " " + key}
}
