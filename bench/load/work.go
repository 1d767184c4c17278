package main

import (
	"sync/atomic"
	"time"
)

// queue hands out requests until there are no more.
type queue struct {
	next  atomic.Int64
	limit int64
	until time.Time
}

func newQueue(load options) *queue {
	work := &queue{limit: int64(load.requests)}
	if load.duration > 0 {
		work.until = time.Now().Add(load.duration)
	}
	return work
}

func (q *queue) take() (int, bool) {
	index := q.next.Add(1) - 1
	if (q.limit > 0 && index >= q.limit) || (!q.until.IsZero() && time.Now().After(q.until)) {
		return 0, false
	}
	return int(index), true
}

type tally struct {
	bytes       int64
	requests    int
	cutOff      int
	failures    int
	failure     error
	firstByteMs []float64
}
