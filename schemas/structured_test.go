package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"penstock/schemas"
)

func TestParseStructuredGolden(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/structured.json")
	if err != nil {
		t.Fatal(err)
	}
	got, data, err := schemas.ParseStructured(b)
	if err != nil {
		t.Fatal(err)
	}
	want := schemas.Attributes{
		ID: "A234-1234-1234", Type: "com.example.order.placed", Source: "https://example.com/orders", Subject: "Bücher 😀",
		Time: "2026-11-22T10:15:30.5+01:00", ContentType: "application/json", PartitionKey: "customer-7",
		Extensions: map[string]string{"comexampleextension1": "value", "retries": "-3", "vip": "true",
			"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if want := "{ \"b\": [1.50, \"}\"],\n    \"a\": \"\\u00e9\" }"; string(data) != want {
		t.Errorf("data is %q, want %q", data, want)
	}
	if at := bytes.Index(b, data); &b[at] != &data[0] || cap(data) != len(data) {
		t.Error("data is not the clipped bytes of the request")
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

// structured is an event with the required attributes and more members.
func structured(more string) string {
	return `{"specversion":"1.0","id":"i","source":"s","type":"t"` + more + `}`
}

func TestParseStructuredData(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"null", "1", `"x"`, "[1, 2 ]", "{}", "false", `"\ud800"`} {
		for _, around := range []string{"", " ", "\n\t"} {
			_, got, err := schemas.ParseStructured([]byte(structured(`,"data":` + around + data + around)))
			if err != nil || string(got) != data {
				t.Errorf("data %q between %q: got %q, %v", data, around, got, err)
			}
		}
	}
	// As deep as a body by itself, and in a batch too.
	deepest := strings.Repeat("[", schemas.MaxDepth) + strings.Repeat("]", schemas.MaxDepth)
	event := structured(`,"data":` + deepest)
	if _, got, err := schemas.ParseStructured([]byte(event)); err != nil || string(got) != deepest {
		t.Errorf("deepest data: %v", err)
	}
	if elements, err := split("[" + event + "," + event + "]"); err != nil || len(elements) != 2 || elements[1] != event {
		t.Errorf("deepest data in a batch: %d events, %v", len(elements), err)
	}
}

func TestParseStructuredNull(t *testing.T) {
	t.Parallel()
	a, data, err := schemas.ParseStructured([]byte(structured(`,"subject":null,"x":null,"size":null,"data_base64":null,"data":1`)))
	want := schemas.Attributes{ID: "i", Source: "s", Type: "t"}
	if err != nil || string(data) != "1" || !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, %q, %v", a, data, err)
	}
}

func TestParseStructuredRefusesAttributes(t *testing.T) {
	t.Parallel()
	for b, message := range map[string]string{
		"{}": `"specversion": a structured CloudEvent must have it`,
		`{"specversion":"1.0","source":"s","type":"t","data":1}`:           `"id": a structured CloudEvent must have it`,
		`{"specversion":"1.0","id":"i","type":"t","data":1}`:               `"source": a structured CloudEvent must have it`,
		`{"specversion":"1.0","id":"i","source":"s","data":1}`:             `"type": a structured CloudEvent must have it`,
		`{"specversion":"1.0","id":null,"source":"s","type":"t","data":1}`: `"id": a structured CloudEvent must have it`,
		`{"specversion":"0.3","id":"i","source":"s","type":"t","data":1}`:  `"specversion": must be "1.0"`,
		`{"specversion":1.0,"id":"i","source":"s","type":"t","data":1}`:    `"specversion": must be a string`,
		structured(""):                                         `"data": a structured CloudEvent must have it`,
		structured(`,"data_base64":"AAAA"`):                    `"data_base64": binary data is not accepted`,
		structured(`,"data":1,"data_base64":"AAAA"`):           `"data_base64": binary data is not accepted`,
		structured(`,"data":1,"data":1`):                       `"data": is there twice`,
		structured(`,"data":1,"id":"i"`):                       `"id": is there twice`,
		structured(`,"data":1,"\u0069d":"i"`):                  `"id": is there twice`,
		structured(`,"data":1,"x":1,"x":null`):                 `"x": is there twice`,
		structured(`,"data":1,"subject":""`):                   `"subject": must not be empty`,
		structured(`,"data":1,"time":7`):                       `"time": must be a string`,
		structured(`,"data":1,"partitionkey":true`):            `"partitionkey": must be a string`,
		structured(`,"data":1,"x":{}`):                         `"x": must be a string, a boolean or an integer`,
		structured(`,"data":1,"x":[1]`):                        `"x": must be a string, a boolean or an integer`,
		structured(`,"data":1,"x":1.0`):                        `"x": a number must be an integer`,
		structured(`,"data":1,"x":1e3`):                        `"x": a number must be an integer`,
		structured(`,"data":1,"x":2147483648`):                 `"x": a number must be an integer`,
		structured(`,"data":1,"x":-2147483649`):                `"x": a number must be an integer`,
		structured(`,"data":1,"x":"\ud800"`):                   `"x": a surrogate in the value lacks its partner`,
		structured(`,"data":1,"x":"\udc00\ud800"`):             `"x": a surrogate in the value lacks its partner`,
		structured(`,"data":1,"x":"\ud800\u0041"`):             `"x": a surrogate in the value lacks its partner`,
		structured(`,"data":1,"x":"\ud800abcdef"`):             `"x": a surrogate in the value lacks its partner`,
		structured(`,"data":1,"\ud800":"x"`):                   `a surrogate in the name lacks its partner`,
		structured(`,"data":1,"Subject":"x"`):                  `"Subject": a name is`,
		structured(`,"data":1,"":"x"`):                         `"": a name is`,
		structured(`,"data":1,"x":"\u0000"`):                   `"x": control character U+0000`,
		structured(`,"data":1,"datacontenttype":"text/plain"`): `"datacontenttype": must be a media type of JSON`,
		structured(`,"data":1,"receivedtime":"x"`):             `"receivedtime": Penstock sets it`,
		structured(`,"data":1,"size":1`):                       `"size": Penstock sets it`,
		structured(`,"data":1,"sha256":"x"`):                   `"sha256": Penstock sets it`,
		structured(`,"data":1,"originid":"x"`):                 `"originid": Penstock sets it`,
		structured(`,"data":1,"tenant":"x"`):                   `"tenant": Penstock sets it`,
		structured(`,"data":1,"redelivered":true`):             `"redelivered": Penstock sets it`,
		structured(`,"dataref":"s3://other/key"`):              `"dataref": Penstock sets it`,
	} {
		a, data, err := schemas.ParseStructured([]byte(b))
		if !errors.Is(err, schemas.ErrAttribute) || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: got %v, want %s", b, err, message)
		}
		if data != nil || !reflect.DeepEqual(a, schemas.Attributes{}) {
			t.Errorf("%s: got %+v, %q beside the error", b, a, data)
		}
	}
}

// TestParseStructuredIsBounded: a body of nothing but attributes is refused without gathering them all.
//
//nolint:paralleltest // it measures what this process allocates
func TestParseStructuredIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"specversion":"1.0"`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `,"a%x":null,"b%x":1`, i, i)
	}
	body := []byte(b.String() + "}")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := schemas.ParseStructured(body)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, schemas.ErrAttribute) || !strings.Contains(err.Error(), "15360 bytes") {
		t.Errorf("got %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(len(body)) {
		t.Errorf("parsing %d bytes allocated %d", len(body), took)
	}
	if _, _, err := schemas.ParseStructured(append(body[:len(body)-1], '?')); !errors.As(err, new(*schemas.JSONError)) {
		t.Errorf("malformed behind the limit: %v", err)
	}
}

// What is too long for an attribute however it is written is refused for that, before it is looked into or copied.
func TestParseStructuredCopiesNothingTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 6*schemas.MaxAttributes) + `\ud800`
	for _, more := range []string{`"x":"` + long + `"`, `"` + long + `":1`, `"subject":"` + long + `"`} {
		_, _, err := schemas.ParseStructured([]byte(structured(`,"data":1,` + more)))
		if !errors.Is(err, schemas.ErrAttribute) || !strings.Contains(err.Error(), "all attributes together") {
			t.Errorf("%.20s…: %.100v", more, err)
		}
	}
	for _, digits := range []string{"1", "-1", "1.", "0.", "1e"} {
		_, _, err := schemas.ParseStructured([]byte(structured(`,"data":1,"x":` + digits + strings.Repeat("0", 100_000))))
		if !errors.Is(err, schemas.ErrAttribute) || !strings.Contains(err.Error(), "integer") {
			t.Errorf("%s0…: %.100v", digits, err)
		}
	}
}

func TestParseStructuredIntegers(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{"0": "0", "-0": "0", "2147483647": "2147483647", "-2147483648": "-2147483648"} {
		a, _, err := schemas.ParseStructured([]byte(structured(`,"data":1,"x":` + number)))
		if err != nil || a.Extensions["x"] != want {
			t.Errorf("%s: got %q, %v", number, a.Extensions["x"], err)
		}
	}
}

func TestParseStructuredRefusesJSON(t *testing.T) {
	t.Parallel()
	whole := structured(`,"x":{"bad":1},"data":1`)
	for b, offset := range map[string]int{
		"": 0, "[]": 0, "1": 0, " {": 2, "\xef\xbb\xbf{}": 0, "{1": 1, `{"a"`: 4, `{"a":`: 5, `{"a":1`: 6, `{"a":1,`: 7, `{"a":1,}`: 7,
		`{"a":1]`: 6, `{,`: 1, whole + "{}": len(whole), whole + " x": len(whole) + 1, whole[:len(whole)-1]: len(whole) - 1,
		`{"data":01}`: 9, "{\"data\":\"\xff\"}": 9, `{"a" :1 "b"`: 8, "{\"a\xff\":1}": 3,
	} {
		_, _, err := schemas.ParseStructured([]byte(b))
		var fault *schemas.JSONError
		if !errors.As(err, &fault) || fault.Offset != offset {
			t.Errorf("%s: got %v, want a JSONError at %d", b, err, offset)
		}
		if errors.Is(err, schemas.ErrAttribute) {
			t.Errorf("%s: is an ErrAttribute too", b)
		}
	}
	deep := structured(`,"data":` + strings.Repeat("[", schemas.MaxDepth+1))
	var fault *schemas.JSONError
	if _, _, err := schemas.ParseStructured([]byte(deep)); !errors.As(err, &fault) || !strings.Contains(fault.Reason, "deep") {
		t.Errorf("too deep: got %v", err)
	}
}

func FuzzParseStructured(f *testing.F) {
	golden, err := os.ReadFile("testdata/structured.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(structured(`,"data":null,"x":-0,"\u0079":"\ud83d\ude00"`)))
	f.Add([]byte(structured(`,"data":1,"data_base64":null`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, data, err := schemas.ParseStructured(b)
		var fault *schemas.JSONError
		wellFormed := isJSON(b, schemas.MaxDepth+1)
		if errors.As(err, &fault) {
			if wellFormed && bytes.TrimLeft(b, " \t\r\n")[0] == '{' {
				t.Fatalf("%q: got %v", b, err)
			}
			return
		}
		if !wellFormed {
			t.Fatalf("%q: got %v", b, err)
		}
		if err != nil {
			if !errors.Is(err, schemas.ErrAttribute) {
				t.Fatalf("%q: got %v", b, err)
			}
			return
		}
		if schemas.ValidateJSON(data) != nil || len(bytes.TrimSpace(data)) != len(data) {
			t.Fatalf("%q: data is %q", b, data)
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil || !bytes.Equal(members["data"], data) {
			t.Fatalf("%q: data is %q, for encoding/json %q, %v", b, data, members["data"], err)
		}
		var id string
		if err := json.Unmarshal(members["id"], &id); err != nil || id != a.ID {
			t.Fatalf("%q: id is %q, for encoding/json %q, %v", b, a.ID, id, err)
		}
		// What passes both checks is encoded and read back.
		e, err := schemas.NewEvent("id", received, &a, data)
		if err != nil {
			return
		}
		back, err := schemas.DecodeEvent(schemas.AppendEvent(nil, &e))
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%q: event %+v came back as %+v, %v", b, e, back, err)
		}
	})
}

func split(b string) (elements []string, err error) {
	err = schemas.SplitArray([]byte(b), func(element []byte) error {
		if cap(element) != len(element) {
			return errors.New("appending to an element would run into the next one")
		}
		elements = append(elements, string(element))
		return nil
	})
	return elements, err
}

func TestSplitArray(t *testing.T) {
	t.Parallel()
	for b, want := range map[string][]string{
		"[]": nil, " [ \n] ": nil, "[1]": {"1"}, "\t[ 1 , [2, 3] ,\n{\"a\": \"]\" },null ]\n": {"1", "[2, 3]", `{"a": "]" }`, "null"},
	} {
		if got, err := split(b); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v", b, got, err)
		}
	}
	for b, offset := range map[string]int{
		"": 0, " {}": 1, "1": 0, "[": 1, "[1": 2, "[1,": 3, "[1,]": 3, "[,1]": 1, "[1 2]": 3, "[1]]": 3, "[1][2]": 3, "[1]x": 3, "[1}": 2,
		"[] 1": 3, "\xef\xbb\xbf[]": 0, "[{]": 2, "[1,01]": 4, strings.Repeat("[", 1003): 1002,
	} {
		_, err := split(b)
		var fault *schemas.JSONError
		if !errors.As(err, &fault) || fault.Offset != offset {
			t.Errorf("%.20q: got %v, want a JSONError at %d", b, err, offset)
		}
	}
	enough := errors.New("enough")
	calls := 0
	err := schemas.SplitArray([]byte("[1,2,x"), func([]byte) error {
		calls++
		return enough
	})
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

func TestSplitArrayOfCorpus(t *testing.T) {
	t.Parallel()
	for name, document := range corpus(t) {
		if document[0] != '[' || strings.HasSuffix(name, ".ndjson") {
			continue
		}
		var want []json.RawMessage
		if err := json.Unmarshal(document, &want); err != nil {
			t.Fatal(err)
		}
		got, err := split(string(document))
		if err != nil || !slices.EqualFunc(got, want, func(s string, raw json.RawMessage) bool { return s == string(raw) }) {
			t.Errorf("%s: %d elements, %v, want %d", name, len(got), err, len(want))
		}
	}
}

func FuzzSplitArray(f *testing.F) {
	for _, seed := range []string{"[]", "[1, [2],{\"a\":\"]\"}]", "[1 2]", " [\n] ", "[1,]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b string) {
		got, err := split(b)
		if fault := new(schemas.JSONError); err != nil && !errors.As(err, &fault) {
			t.Fatalf("%q: got %v", b, err)
		}
		isArray := isJSON([]byte(b), schemas.MaxDepth+2) && strings.TrimLeft(b, " \t\r\n")[0] == '['
		if (err == nil) != isArray {
			t.Fatalf("%q: got %v", b, err)
		}
		if err != nil {
			return
		}
		var want []json.RawMessage
		if err := json.Unmarshal([]byte(b), &want); err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got, want, func(s string, raw json.RawMessage) bool { return s == string(raw) }) {
			t.Fatalf("%q: got %q, want %q", b, got, want)
		}
		if again, err := split("[" + strings.Join(got, ",") + "]"); err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q: joined and split again it is %q, %v", got, again, err)
		}
	})
}
