package main

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// parseFlags reads the flags of one command into its struct, by the struct tags by which kong does it in the other builds: name,
// default, env, enum, required, placeholder and help. Kong calls methods by their names, for which the linker keeps every
// exported method of every type that is linked: in the front end alone 12 MB, most of it requests to AWS that nobody makes.
//
// target is a pointer to the struct. After "--help" the error is flag.ErrHelp, and usage is written.
func parseFlags(command string, target any, args []string, usage io.Writer) error {
	fields, err := flagFields(reflect.ValueOf(target).Elem())
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	set := flag.NewFlagSet(command, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range fields {
		if f.value.Kind() == reflect.Bool {
			set.BoolFunc(f.name, "", f.take)
		} else {
			set.Func(f.name, "", f.take)
		}
	}
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return errors.Join(err, writeUsage(usage, command, target, fields))
	case err != nil:
		return ownError(fields, err)
	case set.NArg() > 0:
		return fmt.Errorf("unexpected argument %s", set.Arg(0))
	}
	for _, f := range fields {
		if err := f.complete(); err != nil {
			return err
		}
	}
	return nil
}

// flagField is one flag, and the field of a struct that holds its value.
type flagField struct {
	name  string
	tag   reflect.StructTag
	value reflect.Value
	given bool
	err   error // of a value that was given
}

// flagFields are those of a struct and of what is embedded in it.
func flagFields(of reflect.Value) ([]*flagField, error) {
	var fields []*flagField
	for i := range of.NumField() {
		field := of.Type().Field(i)
		switch {
		case field.Anonymous:
			more, err := flagFields(of.Field(i))
			if err != nil {
				return nil, err
			}
			fields = append(fields, more...)
		case field.Tag.Get("help") == "":
			return nil, fmt.Errorf("field %s is no flag: it has no help", field.Name)
		default:
			name := field.Tag.Get("name")
			if name == "" {
				name = kebab(field.Name)
			}
			fields = append(fields, &flagField{name: name, tag: field.Tag, value: of.Field(i)})
		}
	}
	return fields, nil
}

// kebab makes "key-file" of "KeyFile".
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// take is called for each time that the flag is given: a list grows, of other values the last one counts.
func (f *flagField) take(text string) error {
	f.given = true
	f.err = f.set(text)
	return f.err
}

// ownError is that of the flag with an unsuitable value, which package flag names with one dash; or err.
func ownError(fields []*flagField, err error) error {
	for _, f := range fields {
		if f.err != nil {
			return fmt.Errorf("--%s: %w", f.name, f.err)
		}
	}
	return err
}

// complete gives a flag that is not given the value of its environment variable, or its default.
func (f *flagField) complete() error {
	if f.given {
		return nil
	}
	text, ok := "", false
	if env := f.tag.Get("env"); env != "" {
		text, ok = os.LookupEnv(env)
	}
	if !ok {
		text, ok = f.tag.Lookup("default")
	}
	if _, required := f.tag.Lookup("required"); required && !ok {
		return fmt.Errorf("missing flags: --%s=%s", f.name, f.placeholder())
	}
	if !ok {
		return nil
	}
	if err := f.set(text); err != nil {
		return fmt.Errorf("--%s: %w", f.name, err)
	}
	return nil
}

func (f *flagField) set(text string) error {
	if list, ok := f.value.Addr().Interface().(*[]string); ok {
		for part := range strings.SplitSeq(text, ",") {
			if err := f.permitted(part); err != nil {
				return err
			}
			*list = append(*list, part)
		}
		return nil
	}
	if err := f.permitted(text); err != nil {
		return err
	}
	var err error
	switch v := f.value.Addr().Interface().(type) {
	case *string:
		*v = text
	case *bool:
		*v, err = strconv.ParseBool(text)
	case *int:
		*v, err = strconv.Atoi(text)
	case *time.Duration:
		*v, err = time.ParseDuration(text)
	case encoding.TextUnmarshaler:
		err = v.UnmarshalText([]byte(text))
	default:
		err = fmt.Errorf("a flag can't be a %s", f.value.Type())
	}
	return err
}

func (f *flagField) permitted(text string) error {
	values := f.tag.Get("enum")
	if values == "" || slices.Contains(strings.Split(values, ","), text) {
		return nil
	}
	return fmt.Errorf("must be one of %q but got %q", strings.Split(values, ","), text)
}

func (f *flagField) placeholder() string {
	if p := f.tag.Get("placeholder"); p != "" {
		return p
	}
	return strings.ToUpper(f.value.Kind().String())
}

// writeUsage tells what the command says of itself, and its flags.
func writeUsage(w io.Writer, command string, target any, fields []*flagField) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: penstock %s [flags]\n\n", command)
	if more, ok := target.(interface{ Help() string }); ok {
		fmt.Fprintf(&b, "%s\n\n", more.Help())
	}
	b.WriteString("Flags:\n")
	for _, f := range fields {
		fmt.Fprintf(&b, "  --%s", f.name)
		if value, ok := f.tag.Lookup("default"); ok {
			fmt.Fprintf(&b, "=%s", value)
		} else if f.value.Kind() != reflect.Bool {
			fmt.Fprintf(&b, "=%s", f.placeholder())
		}
		fmt.Fprintf(&b, "\n        %s", strings.ReplaceAll(f.tag.Get("help"), "${default}", f.tag.Get("default")))
		if env := f.tag.Get("env"); env != "" {
			fmt.Fprintf(&b, " ($%s)", env)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
