package ingest

// queue holds a lane's items in the order of their arrival. It is linked through the items themselves, so that one whose
// waiter gave up is out, and its memory free, at once.
type queue struct {
	first, last *item
	events      int
}

// append adds a new item at the end.
func (q *queue) append(it *item) { q.insertBefore(nil, it) }

// insertBefore adds it before at, or at the end when at is nil.
func (q *queue) insertBefore(at, it *item) {
	it.next = at
	if at != nil {
		it.previous, at.previous = at.previous, it
	} else {
		it.previous, q.last = q.last, it
	}
	if it.previous != nil {
		it.previous.next = it
	} else {
		q.first = it
	}
	q.events++
}

// remove takes it out, wherever it stands.
func (q *queue) remove(it *item) {
	if it.previous != nil {
		it.previous.next = it.next
	} else {
		q.first = it.next
	}
	if it.next != nil {
		it.next.previous = it.previous
	} else {
		q.last = it.previous
	}
	it.previous, it.next = nil, nil
	q.events--
}

// putBack returns items of a flight, in order, to where they stood: before all that came later.
func (q *queue) putBack(items []*item) {
	at := q.first
	for _, it := range items {
		for at != nil && at.arrival < it.arrival {
			at = at.next
		}
		q.insertBefore(at, it)
	}
}
