package schemas_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"penstock/schemas"
)

// order is a document of about n bytes such as a shop would post.
func order(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"orderId":"8f14e45f-ceea-467f-a8b1-0d6a3c1d7e11","customer":{"id":48213,"name":"Zoë Müller",` +
		`"email":"zoe@example.com","vip":true},"placedAt":"2026-11-22T10:15:30.123Z","currency":"EUR","items":[`)
	for i := 0; b.Len() < n-120; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sku":"SKU-%06d","title":"A thing with \"quotes\" number %d","qty":%d,"price":%d.95,"gift":null}`,
			i*7919, i, i%9+1, i*3+10)
	}
	b.WriteString(`],"total":1234.5,"note":"leave it with the neighbour, please"}`)
	return []byte(b.String())
}

func BenchmarkValidateJSON(b *testing.B) {
	documents := map[string][][]byte{"order-1KB": {order(1 << 10)}, "order-64KB": {order(64 << 10)}}
	for name, document := range corpus(b) {
		if json.Valid(document) {
			documents[name] = [][]byte{document}
		}
	}
	// Different documents of about 2 KB one after the other: no branch predictor knows them by heart.
	if events, found := documents["github_events.json"]; found {
		var elements [][]byte
		if err := schemas.SplitArray(events[0], func(element []byte) error {
			elements = append(elements, element)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		documents["github_events, one by one"] = elements
	}
	for name, set := range documents {
		size := 0
		for _, document := range set {
			size += len(document)
		}
		b.Run(name+"/penstock", func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				for _, document := range set {
					if err := schemas.ValidateJSON(document); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(name+"/encoding-json", func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				for _, document := range set {
					if !json.Valid(document) {
						b.Fatal("invalid")
					}
				}
			}
		})
	}
}
