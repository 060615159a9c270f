package wire

import (
	"context"
	"iter"
	"net/http"
	"strconv"

	"groom/api"
)

// Logs answers GET ?attempt=&stream=&offset=&follow=1 with lines of api.LogChunk.
func Logs(read func(ctx context.Context, id api.AttemptID, stream string, offset int64, follow bool) (iter.Seq2[api.LogChunk, error], error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		id, err := api.ParseAttemptID(q.Get("attempt"))
		if err != nil {
			Answer(w, nil, api.Problemf(api.CodeInvalid, "%v", err))
			return
		}
		offset, err := strconv.ParseInt(q.Get("offset"), 10, 64)
		if err != nil && q.Get("offset") != "" {
			Answer(w, nil, api.Problemf(api.CodeInvalid, "offset %q: want a number of bytes", q.Get("offset")))
			return
		}
		chunks, err := read(r.Context(), id, q.Get("stream"), offset, q.Get("follow") == "1")
		if err != nil {
			Answer(w, nil, err)
			return
		}
		AnswerLines(w, chunks)
	}
}
