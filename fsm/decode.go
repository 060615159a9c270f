package fsm

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
	case KindRecovered:
		return decodeAs[Recovered](obs)
	case KindDir:
		return decodeAs[DirChanged](obs)
	case KindPinned:
		return decodeAs[Pinned](obs)
	case KindDirective:
		return decodeAs[Directed](obs)
	case KindDue:
		return decodeAs[Due](obs)
	case KindStarted:
		return decodeAs[Started](obs)
	case KindEnded:
		return decodeAs[Ended](obs)
	case KindDone:
		return decodeAs[Done](obs)
	case KindTold:
		return decodeAs[Told](obs)
	case KindSilent:
		return decodeAs[Silent](obs)
	case KindCommitted:
		return decodeAs[Committed](obs)
	case KindAcked:
		return decodeAs[Acked](obs)
	case KindContact:
		return decodeAs[Contact](obs)
	case KindAbandoned:
		return decodeAs[Abandoned](obs)
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
