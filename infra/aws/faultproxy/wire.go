package faultproxy

import (
	"encoding/json"
	"encoding/xml"
)

type jsonError struct {
	Type    string `json:"__type"`
	Message string `json:"message"`
}

type s3Error struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

// object is a JSON object of which only some members are looked at.
type object map[string]json.RawMessage

// mustJSON encodes what is made of the package's own types, which can't fail.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func mustXML(v any) []byte {
	text, err := xml.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}
