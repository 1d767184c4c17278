package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// queue returns the requests one by one.
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
	retried     int
	finishedMs  float64
}

// link limits all clients together, as the network of a master limits its nodes.
type link struct {
	rate  float64
	mutex sync.Mutex
	free  time.Time
}

// links has one link for all hosts, or one for each host, as each master has its own network.
type links struct {
	rate   float64
	isEach bool
	mutex  sync.Mutex
	byHost map[string]*link
}

// newLinks returns nil if there is no limit.
func newLinks(load options) *links {
	rate := max(load.link, load.hostLink)
	if rate <= 0 {
		return nil
	}
	return &links{rate: rate, isEach: load.hostLink > 0, byHost: map[string]*link{}}
}

func (l *links) of(host string) *link {
	if !l.isEach {
		host = ""
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	found, ok := l.byHost[host]
	if !ok {
		found = &link{rate: l.rate, free: time.Now()}
		l.byHost[host] = found
	}
	return found
}

// take waits until this many bytes have come over the link.
func (l *link) take(bytes int) {
	l.mutex.Lock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(bytes) / l.rate * float64(time.Second)))
	due := l.free
	l.mutex.Unlock()
	time.Sleep(time.Until(due))
}

func (c *client) pace(started time.Time, read int64, last int) {
	if c.link != nil {
		c.link.take(last)
	}
	if c.load.rate <= 0 {
		return
	}
	due := started.Add(time.Duration(float64(read) / c.load.rate * float64(time.Second)))
	if !c.cutOff.IsZero() && due.After(c.cutOff) {
		due = c.cutOff
	}
	time.Sleep(time.Until(due))
}
