package aws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"penstock/consumer"
	"penstock/consumer/query"
)

// outputOf is where the result lies, "s3://bucket/key". Athena names it by the kind of the statement: .csv for a SELECT and its like, and
// .txt for SHOW, DESCRIBE and EXPLAIN
// (https://docs.aws.amazon.com/athena/latest/ug/querying-finding-output-files.html).
func outputOf(e types.QueryExecution) string {
	if e.ResultConfiguration == nil {
		return ""
	}
	return sdk.ToString(e.ResultConfiguration.OutputLocation)
}

func isText(location string) bool { return strings.HasSuffix(location, ".txt") }

// object is the one at a location, which need not be in the deployment's bucket: a workgroup may enforce a place.
func (a *Athena) object(location string) (objects, string, error) {
	bucket, key, ok := strings.Cut(strings.TrimPrefix(location, "s3://"), "/")
	if !ok || bucket == "" || key == "" || !strings.HasPrefix(location, "s3://") {
		return objects{}, "", fmt.Errorf("result at %.300q: not an object of S3", location)
	}
	return objects{a.s3, bucket}, key, nil
}

// Open implements query.Engine. The CSV of a SELECT comes from S3 as Athena wrote it, which is in query.Engine's form. Text is read
// twice, to tell its size before it is streamed.
func (a *Athena) Open(ctx context.Context, id string) (io.ReadCloser, int64, error) {
	e, _, err := a.get(ctx, id)
	switch {
	case errors.Is(err, errUnknown):
		return nil, 0, fmt.Errorf("%w: %w", query.ErrNoResult, err)
	case err != nil:
		return nil, 0, err
	case stateOf(e) != query.Succeeded:
		return nil, 0, fmt.Errorf("%w: it is %s", query.ErrNoResult, stateOf(e))
	}
	location := outputOf(e)
	if !isText(location) {
		d, err := a.openObject(ctx, location)
		if err != nil {
			return nil, 0, err
		}
		return d, d.size, nil
	}
	columns, err := a.columns(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	size, err := a.textSize(ctx, location, columns)
	if err != nil {
		return nil, 0, err
	}
	d, err := a.openObject(ctx, location)
	if err != nil {
		return nil, 0, err
	}
	return newTextCSV(d, columns), size, nil
}

// openObject opens a result: query.ErrNoResult. ctx is over long before the result is read; it ends the opening alone.
func (a *Athena) openObject(ctx context.Context, location string) (*download, error) {
	o, key, err := a.object(location)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	d, err := o.download(life, key)
	if inTime := stop(); err == nil && !inTime {
		err = errors.Join(context.Cause(ctx), d.Close())
	}
	if err != nil {
		cancel()
		return nil, noResult(err)
	}
	d.closed = cancel
	return d, nil
}

// noResult says of an object that is not there what that means to a client.
func noResult(err error) error {
	if errors.Is(err, consumer.ErrNotFound) {
		return fmt.Errorf("%w: %w", query.ErrNoResult, err)
	}
	return err
}

// resultSize is what Open would tell: query.ErrNoResult.
func (a *Athena) resultSize(ctx context.Context, id, location string) (int64, error) {
	if isText(location) {
		columns, err := a.columns(ctx, id)
		if err != nil {
			return 0, err
		}
		return a.textSize(ctx, location, columns)
	}
	o, key, err := a.object(location)
	if err != nil {
		return 0, err
	}
	size, err := o.size(ctx, key)
	return size, noResult(err)
}

func (a *Athena) textSize(ctx context.Context, location string, columns []string) (size int64, err error) {
	d, err := a.openObject(ctx, location)
	if err != nil {
		return 0, err
	}
	text := newTextCSV(d, columns)
	defer func() { err = errors.Join(err, text.Close()) }()
	return io.Copy(io.Discard, text)
}

// columns are the headings of a result, which no text has.
func (a *Athena) columns(ctx context.Context, id string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := a.client.GetQueryResults(ctx, &athena.GetQueryResultsInput{QueryExecutionId: sdk.String(id), MaxResults: sdk.Int32(1)})
	var invalid *types.InvalidRequestException
	switch {
	case errors.As(err, &invalid): // such as that the result was deleted
		return nil, fmt.Errorf("%w: %w", query.ErrNoResult, err)
	case err != nil:
		return nil, fmt.Errorf("asking for the columns of query %s: %w", id, a.advised(outcome(err), "athena:GetQueryResults"))
	case out.ResultSet == nil || out.ResultSet.ResultSetMetadata == nil || len(out.ResultSet.ResultSetMetadata.ColumnInfo) == 0:
		return []string{"result"}, nil
	}
	var names []string
	for _, c := range out.ResultSet.ResultSetMetadata.ColumnInfo {
		names = append(names, sdk.ToString(c.Name))
	}
	return names, nil
}

// maxTextLine is far more than a line of a plan or a table's description has, in bytes.
const maxTextLine = 1 << 20

// textCSV turns the text that Athena writes into CSV as it is read. A line is a row; where there are several columns a tab is between
// them, and blanks fill them up. It holds one line.
type textCSV struct {
	from    io.Closer
	lines   *bufio.Scanner
	columns int
	row     []byte // what is left of the row that is being read
}

func newTextCSV(from io.ReadCloser, columns []string) *textCSV {
	t := &textCSV{from: from, lines: bufio.NewScanner(from), columns: len(columns)}
	t.lines.Buffer(nil, maxTextLine)
	for i, name := range columns {
		t.add(i, name)
	}
	t.row = append(t.row, '\n')
	return t
}

func (t *textCSV) add(column int, value string) {
	if column > 0 {
		t.row = append(t.row, ',')
	}
	t.row = append(t.row, '"')
	t.row = append(t.row, strings.ReplaceAll(value, `"`, `""`)...)
	t.row = append(t.row, '"')
}

// Read implements io.Reader.
func (t *textCSV) Read(p []byte) (int, error) {
	if len(t.row) == 0 {
		if !t.lines.Scan() {
			if err := t.lines.Err(); err != nil {
				return 0, fmt.Errorf("reading a result as text: %w", err)
			}
			return 0, io.EOF
		}
		t.next(t.lines.Bytes())
	}
	n := copy(p, t.row)
	t.row = t.row[n:]
	return n, nil
}

// next makes a row of a line. A column that the line does not have is NULL.
func (t *textCSV) next(line []byte) {
	t.row = t.row[:0]
	if t.columns == 1 {
		t.add(0, string(line))
	} else {
		values := bytes.SplitN(line, []byte("\t"), t.columns)
		for i := range t.columns {
			if i < len(values) {
				t.add(i, string(bytes.TrimSpace(values[i])))
			} else {
				t.row = append(t.row, ',')
			}
		}
	}
	t.row = append(t.row, '\n')
}

// Close implements io.Closer.
func (t *textCSV) Close() error { return t.from.Close() }
