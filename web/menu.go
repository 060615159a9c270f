package web

import (
	"slices"

	"groom/api"
)

// entryOfMenu leads to a page, and stands for those behind it.
type entryOfMenu struct {
	Name, Path string
	pages      []string
}

// Holds says whether a page is this one, or behind it.
func (m entryOfMenu) Holds(page string) bool { return slices.Contains(m.pages, page) }

func menu() []entryOfMenu {
	return []entryOfMenu{
		{"overview", "/", []string{"overview"}},
		{"jobs", "/jobs", []string{"jobs", "job", "task", "logs"}},
		{"grooms", "/nodes", []string{"nodes"}},
		{"recoveries", "/recoveries", []string{"recoveries"}},
		{"removals", "/removals", []string{"removals"}},
		{"journal", "/journal", []string{"journal", "journals", "entry", "diff", "why"}},
		{"tables", "/state", []string{"state"}},
	}
}

// headline tells the kind of an error to people.
func headline(c api.Code) string {
	switch c {
	case api.CodeInvalid:
		return "That cannot be understood"
	case api.CodeToken:
		return "A token is needed"
	case api.CodeForbidden:
		return "Refused"
	case api.CodeNotFound:
		return "Not found"
	case api.CodeMethod:
		return "Not that way"
	case api.CodeConflict:
		return "Not in this state"
	case api.CodeTooLarge:
		return "Too large"
	case api.CodeVersion:
		return "Another version"
	case api.CodeUnavailable:
		return "Not now"
	}
	return "Something went wrong"
}
