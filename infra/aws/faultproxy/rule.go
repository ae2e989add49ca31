package faultproxy

import "math/rand/v2"

// Rule says which calls a fault befalls. An empty Service, Operation or Resource stands for any.
type Rule struct {
	Service, Operation, Resource string
	When                         When
	Do                           Fault
}

func (r Rule) isFor(c Call) bool {
	return (r.Service == "" || r.Service == c.Service) && (r.Operation == "" || r.Operation == c.Operation) &&
		(r.Resource == "" || r.Resource == c.Resource)
}

// When picks among the calls that a rule is for, by their number from 1 on.
type When func(n int, random *rand.Rand) bool

// Always picks all.
func Always() When { return func(int, *rand.Rand) bool { return true } }

// First picks the first so many.
func First(count int) When { return func(n int, _ *rand.Rand) bool { return n <= count } }

// Nth picks the one with the number.
func Nth(number int) When { return func(n int, _ *rand.Rand) bool { return n == number } }

// Chance picks each with the probability, 0 to 1.
func Chance(probability float64) When {
	return func(_ int, random *rand.Rand) bool { return random.Float64() < probability }
}
