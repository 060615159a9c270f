package cluster

import (
	"encoding/json"
	"fmt"
)

// DecodeObservation reads the observation of an entry back, as Record wrote it. It returns ErrUnknown for a kind that
// this build does not know.
func DecodeObservation(kind uint16, obs json.RawMessage) (Observation, error) {
	switch kind {
	case KindBooted:
		return decodeAs[Booted](obs)
	case KindRegistered:
		return decodeAs[Registered](obs)
	case KindChanged:
		return decodeAs[Changed](obs)
	case KindLost:
		return decodeAs[LeaseOver](obs)
	case KindSubmitted:
		return decodeAs[Submitted](obs)
	case KindPlaced:
		return decodeAs[Placing](obs)
	case KindAsked:
		return decodeAs[Asked](obs)
	case KindReported:
		return decodeAs[Reported](obs)
	case KindEpoch:
		return decodeAs[Raising](obs)
	case KindCommitted:
		return decodeAs[Committing](obs)
	case KindAnswered:
		return decodeAs[Answered](obs)
	case KindAbandoned:
		return decodeAs[Abandoning](obs)
	case KindMoved:
		return decodeAs[Moving](obs)
	case KindExpired:
		return decodeAs[Expired](obs)
	case KindForgotten:
		return decodeAs[Forgetting](obs)
	}
	return nil, fmt.Errorf("kind %d: %w", kind, ErrUnknown)
}

func decodeAs[O Observation](obs json.RawMessage) (Observation, error) {
	var o O
	if err := json.Unmarshal(obs, &o); err != nil {
		return nil, fmt.Errorf("decode %T: %w", o, err)
	}
	return o, nil
}
