package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"groom/api"
	"groom/wire"
)

func newNode() *cobra.Command {
	return group("node", "Look at the grooms of the cluster", newNodeList(), newNodeStatus(), newNodeRemovals())
}

func newNodeList() *cobra.Command {
	var asJSON asJSON
	return newVerb("list", "List the grooms that a master knows", cobra.NoArgs, asJSON.AddFlags,
		func(cmd *cobra.Command, c *wire.Client, _ []string) error {
			nodes := []api.NodeView{}
			if err := c.Get(cmd.Context(), "/nodes", &nodes); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), nodes)
			}
			t := newListing(cmd.OutOrStdout(), "GROOM", "ID", "STATE", "TASKS", "FAILURES", "LAST SEEN", "BUILD", "PAGES")
			for _, n := range nodes {
				t.row(n.Status.Name, n.Status.ID, n.State, fmt.Sprintf("%d of %d", n.Placed, n.Status.MaxTasks), n.Failures,
					when(n.LastSeen), n.Status.Build, n.WebURL)
			}
			return t.flush()
		})
}

func newNodeStatus() *cobra.Command {
	var asJSON asJSON
	return newVerb("status", "Show the agent or master that answers: health, capacity, directories, its last recovery", cobra.NoArgs,
		asJSON.AddFlags, func(cmd *cobra.Command, c *wire.Client, _ []string) error {
			var o api.Overview
			if err := c.Get(cmd.Context(), "/", &o); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), o)
			}
			return printOverview(cmd.OutOrStdout(), o)
		})
}

func newNodeRemovals() *cobra.Command {
	var asJSON asJSON
	return newVerb("removals", "List the directories of ended attempts that the groom removed, and why", cobra.NoArgs,
		asJSON.AddFlags, func(cmd *cobra.Command, c *wire.Client, _ []string) error {
			all := []api.Removal{}
			if err := c.Get(cmd.Context(), "/removals", &all); err != nil {
				return err
			}
			if asJSON.on {
				return printJSON(cmd.OutOrStdout(), all)
			}
			t := newListing(cmd.OutOrStdout(), "WHEN", "ATTEMPT", "BYTES", "WHY")
			for _, r := range all {
				t.row(when(r.At), r.Attempt, r.Bytes, r.Why)
			}
			return t.flush()
		})
}

func printOverview(w io.Writer, o api.Overview) error {
	if g := o.Groom; g != nil {
		fmt.Fprintf(w, "groom %s (%s), start %d, build %s, since %s\n", g.Name, g.ID, g.Incarnation, g.Build, when(g.StartedAt))
		fmt.Fprintf(w, "health: %s", g.Health)
		if len(g.Reasons) > 0 {
			fmt.Fprintf(w, " (%s)", strings.Join(g.Reasons, "; "))
		}
		fmt.Fprintf(w, "\ntasks: %d of %d\n", len(g.Attempts), g.MaxTasks)
		for _, d := range g.Dirs {
			state := "ok"
			if !d.OK {
				state = d.Reason
			}
			fmt.Fprintf(w, "directory %s: %s, %d MiB free\n", d.Path, state, d.FreeBytes>>20)
		}
	}
	if m := o.Master; m != nil {
		switch {
		case m.Cluster != "":
			fmt.Fprintf(w, "master %s of cluster %s, start %d\n", m.Name, m.Cluster, m.Incarnation)
		case m.Reachable:
			fmt.Fprintln(w, "master: reached")
		default:
			fmt.Fprintln(w, "master: out of reach; tasks run on, reports wait")
		}
	}
	for _, j := range o.Journals {
		fmt.Fprintf(w, "journal of the %s: entries %d to %d, %d KiB, %s\n", j.Of, j.First, j.Last, j.Bytes>>10, j.Health)
	}
	if r := o.Recovery; r != nil {
		fmt.Fprintf(w, "last recovery: start %d took %s, %d attempts settled\n", r.Incarnation, r.Took, len(r.Found))
		for _, row := range r.Found {
			fmt.Fprintf(w, "  %s: %s\n", row.Attempt, row.Words)
		}
	}
	return nil
}
