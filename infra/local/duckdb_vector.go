package local

import (
	"fmt"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// columnType is a type of a result column, unfolded once so that reading a value needs no call into C.
type columnType struct {
	id       duckdb.Type
	scale    int           // of a decimal
	stored   duckdb.Type   // the integer type that holds a decimal or an enum
	words    []string      // of an enum
	names    []string      // of a struct's fields
	length   int           // of a fixed-size array
	children []*columnType // a list's or array's element; a map's key and value; a struct's fields
}

// newColumnType unfolds a type. It fails for types that have no text form in Athena either.
func newColumnType(logical duckdb.LogicalType) (*columnType, error) {
	t := &columnType{id: duckdb.GetTypeId(logical)}
	switch t.id {
	case duckdb.TypeDecimal:
		t.scale, t.stored = int(duckdb.DecimalScale(logical)), duckdb.DecimalInternalType(logical)
	case duckdb.TypeEnum:
		t.stored = duckdb.EnumInternalType(logical)
		for i := range duckdb.EnumDictionarySize(logical) {
			t.words = append(t.words, duckdb.EnumDictionaryValue(logical, duckdb.IdxT(i)))
		}
	case duckdb.TypeList:
		return t, t.addChild(duckdb.ListTypeChildType(logical))
	case duckdb.TypeArray:
		t.length = int(duckdb.ArrayTypeArraySize(logical))
		return t, t.addChild(duckdb.ArrayTypeChildType(logical))
	case duckdb.TypeMap:
		if err := t.addChild(duckdb.MapTypeKeyType(logical)); err != nil {
			return nil, err
		}
		return t, t.addChild(duckdb.MapTypeValueType(logical))
	case duckdb.TypeStruct:
		for i := range duckdb.StructTypeChildCount(logical) {
			t.names = append(t.names, duckdb.StructTypeChildName(logical, i))
			if err := t.addChild(duckdb.StructTypeChildType(logical, i)); err != nil {
				return nil, err
			}
		}
	case duckdb.TypeBit, duckdb.TypeBigNum, duckdb.TypeUnion, duckdb.TypeVariant, duckdb.TypeGeometry, duckdb.TypeInvalid:
		return nil, fmt.Errorf("its type has no CSV form; cast it to varchar")
	}
	return t, nil
}

func (t *columnType) addChild(logical duckdb.LogicalType) error {
	defer duckdb.DestroyLogicalType(&logical)
	child, err := newColumnType(logical)
	t.children = append(t.children, child)
	return err
}

// duckdbVector is a column of a chunk: memory of DuckDB's, in the layout that its C API documents
// (https://duckdb.org/docs/stable/clients/c/vector). It is valid as long as the chunk.
type duckdbVector struct {
	data     unsafe.Pointer
	validity unsafe.Pointer
	children []duckdbVector
}

// load points v at a vector of type t. v may be used again for the next chunk.
func (v *duckdbVector) load(from duckdb.Vector, t *columnType) {
	v.data, v.validity = duckdb.VectorGetData(from), duckdb.VectorGetValidity(from)
	if len(v.children) != len(t.children) {
		v.children = make([]duckdbVector, len(t.children))
	}
	switch t.id {
	case duckdb.TypeList:
		v.children[0].load(duckdb.ListVectorGetChild(from), t.children[0])
	case duckdb.TypeArray:
		v.children[0].load(duckdb.ArrayVectorGetChild(from), t.children[0])
	case duckdb.TypeMap: // a list of structs of key and value
		entries := duckdb.ListVectorGetChild(from)
		for i := range v.children {
			v.children[i].load(duckdb.StructVectorGetChild(entries, duckdb.IdxT(i)), t.children[i])
		}
	case duckdb.TypeStruct:
		for i := range v.children {
			v.children[i].load(duckdb.StructVectorGetChild(from, duckdb.IdxT(i)), t.children[i])
		}
	}
}

// null reports whether the value of the row is NULL: a bit that is 0 in the validity mask, if there is a mask.
func (v *duckdbVector) null(row int) bool {
	if v.validity == nil {
		return false
	}
	word := *(*uint64)(unsafe.Add(v.validity, row/64*8))
	return word&(1<<(uint(row)%64)) == 0
}

// valueAt reads a fixed-size value.
func valueAt[T any](v *duckdbVector, row int) T {
	var zero T
	return *(*T)(unsafe.Add(v.data, uintptr(row)*unsafe.Sizeof(zero)))
}

// stringHeader is duckdb_string_t: up to 12 bytes lie in prefix and pointer themselves, longer ones at pointer.
type stringHeader struct {
	length  uint32
	prefix  [4]byte
	pointer *byte
}

const inlineString = 12

// bytesAt reads a VARCHAR, JSON or BLOB without copying it.
func bytesAt(v *duckdbVector, row int) []byte {
	header := unsafe.Add(v.data, uintptr(row)*unsafe.Sizeof(stringHeader{}))
	length := *(*uint32)(header)
	if length <= inlineString {
		return unsafe.Slice((*byte)(unsafe.Add(header, unsafe.Offsetof(stringHeader{}.prefix))), length)
	}
	return unsafe.Slice((*stringHeader)(header).pointer, length)
}

// listEntry is duckdb_list_entry: where a list's or map's elements lie in the child vectors.
type listEntry struct{ offset, length uint64 }

// integerAt reads the integer behind a decimal of up to 18 digits or an enum.
func integerAt(v *duckdbVector, row int, stored duckdb.Type) int64 {
	switch stored {
	case duckdb.TypeUTinyInt:
		return int64(valueAt[uint8](v, row))
	case duckdb.TypeUSmallInt:
		return int64(valueAt[uint16](v, row))
	case duckdb.TypeUInteger:
		return int64(valueAt[uint32](v, row))
	case duckdb.TypeSmallInt:
		return int64(valueAt[int16](v, row))
	case duckdb.TypeInteger:
		return int64(valueAt[int32](v, row))
	default:
		return valueAt[int64](v, row)
	}
}
