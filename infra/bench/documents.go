package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

const (
	kilobyte = 1024
	// variants of a body: enough that neither a cache nor the compression of a block sees the same one again at once.
	variants = 64
)

type order struct {
	Order    string   `json:"order"`
	Placed   string   `json:"placed"`
	Customer customer `json:"customer"`
	Total    float64  `json:"total"`
	Paid     bool     `json:"paid"`
	Items    []item   `json:"items"`
	Note     string   `json:"note"`
}

type customer struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	Country string `json:"country"`
}

type item struct {
	SKU      string  `json:"sku"`
	Title    string  `json:"title"`
	Quantity int     `json:"quantity"`
	Price    float64 `json:"price"`
}

// document makes an order of exactly size bytes (at least 64), always the same for the same seed.
func document(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // nothing is secret
	if size < 512 {
		head := fmt.Sprintf(`{"order":"%016x","note":"`, r.Uint64())
		return append(append([]byte(head), bytes.Repeat([]byte{'n'}, size-len(head)-2)...), `"}`...)
	}
	cents := func() float64 { return float64(r.IntN(100_000)) / 100 }
	o := order{
		Order:  fmt.Sprintf("%016x", r.Uint64()),
		Placed: fmt.Sprintf("2026-%02d-%02dT%02d:%02d:%02dZ", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60)),
		Customer: customer{
			ID: r.Int64(), Name: "Żaneta O'Neill", Email: fmt.Sprintf("%x@example.com", r.Uint32()), Country: "PL",
		},
		Total: cents(), Paid: r.IntN(2) == 0,
	}
	left := size - len(encode(&o))
	for left > 256 {
		next := item{SKU: fmt.Sprintf("%08x", r.Uint32()), Title: "Cast iron pan, 28 cm \"classic\"", Quantity: 1 + r.IntN(9), Price: cents()}
		o.Items = append(o.Items, next)
		left -= len(encode(next)) + 1
	}
	o.Note = string(bytes.Repeat([]byte{'n'}, max(0, size-len(encode(&o)))))
	return encode(&o)
}

func documents(n, size int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = document(uint64(i), size)
	}
	return all
}

// encode is json.Marshal of values that can't fail.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // a value of these types always has a JSON form
	}
	return text
}

// request frames a request as bytes on the connection.
func request(method, path, contentType string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, path)
	if body != nil {
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// posts frames each body as a POST of one event, or of a batch.
func posts(contentType string, bodies [][]byte) [][]byte {
	return postsTo(eventsPath, contentType, bodies)
}

func postsTo(path, contentType string, bodies [][]byte) [][]byte {
	all := make([][]byte, len(bodies))
	for i, body := range bodies {
		all[i] = request("POST", path, contentType, body)
	}
	return all
}
