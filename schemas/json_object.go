package schemas

// objectReader walks over the members of one JSON object, which is the outermost value of b.
type objectReader struct {
	b []byte
	// i is the index after the colon of the present member; who reads the value moves it behind the value.
	i     int
	begun bool
}

// next goes to the next member. It gives the member's name as it is written, without its quotes, or false after the
// closing brace, which i then stands behind.
func (r *objectReader) next() (name []byte, found bool, fault *JSONError) {
	r.i = space(r.b, r.i)
	atEnd := r.i >= len(r.b)
	switch {
	case !r.begun:
		if atEnd || r.b[r.i] != '{' {
			return nil, false, expected(r.b, r.i, "'{' at the beginning of a CloudEvent")
		}
		r.begun = true
		r.i = space(r.b, r.i+1)
		if r.i < len(r.b) && r.b[r.i] == '}' {
			r.i++
			return nil, false, nil
		}
	case atEnd || (r.b[r.i] != ',' && r.b[r.i] != '}'):
		return nil, false, unfinished(r.b, r.i, true)
	case r.b[r.i] == '}':
		r.i++
		return nil, false, nil
	default:
		r.i = space(r.b, r.i+1)
	}
	start := r.i + 1
	if r.i, fault = scanName(r.b, r.i); fault != nil {
		return nil, false, fault
	}
	end := r.i - 1 // the colon; the quote is before it, perhaps with whitespace between them
	for r.b[end] != '"' {
		end--
	}
	return r.b[start:end], true, nil
}

// value gives the present member's value as it is written, without whitespace around it. It may be as deep as a body,
// since that is what it is in an event.
func (r *objectReader) value() ([]byte, *JSONError) {
	start := space(r.b, r.i)
	end, fault := scanValue(r.b, start, MaxDepth)
	if fault != nil {
		return nil, fault
	}
	r.i = end
	return r.b[start:end:end], nil
}
