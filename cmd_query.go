package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"penstock/infra/client"
	"penstock/infra/client/tabular"
	"penstock/schemas"
)

// queryRetry is for a server that is busy or whose connection broke while it was asked for a state.
const queryRetry = 15 * time.Second

// queryCmd is `penstock query`.
type queryCmd struct {
	remote
	SQL     string        `arg:"" name:"sql" help:"One read-only statement, or - to read it from standard input."`
	Param   []string      `sep:"none" placeholder:"VALUE" help:"Value of the next ? in the statement, as text that SQL casts. May be repeated."`
	Format  string        `default:"table" enum:"table,csv,ndjson" help:"How to show the result: as a table, as the server's CSV (every value in quotes but NULL), or as a JSON object per row and line, whose values are strings or null."`
	JSON    bool          `name:"json" help:"Short for --format ndjson."`
	Output  string        `short:"o" placeholder:"FILE" help:"Write the result to a file, which appears only when it is complete."`
	Timeout time.Duration `default:"30m" help:"Cancel the query when it has not ended by then."`
}

// Help implements kong.HelpProvider.
func (*queryCmd) Help() string {
	return `The dialect is Athena's, over the table events. The result is shown as a table of at most 1,000 rows; --format csv and ndjson
have all of it, however large. Ctrl-C cancels the query on the server too.

Examples:

    penstock query "SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY n DESC"
    penstock query "SELECT id, data FROM events WHERE type = ? AND size > CAST(? AS bigint)" --param order --param 1000 --format ndjson
    penstock query - --format csv -o orders.csv < orders.sql`
}

// Run runs the statement and shows its result.
func (c *queryCmd) Run(ctx context.Context, out *output) error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout %v: must be more than 0", c.Timeout)
	}
	sql, err := c.statement(out)
	if err != nil {
		return err
	}
	api, err := c.connect(2)
	if err != nil {
		return err
	}
	defer api.Close()
	execution, err := c.execute(ctx, api, sql, out)
	if err != nil {
		return explained(err)
	}
	result, err := api.Result(ctx, execution.ExecutionID, client.Retry{For: queryRetry})
	if err != nil {
		return explained(err)
	}
	err = out.writeResult(c.Output, func(w io.Writer) error { return c.show(w, result, &execution, out) })
	return explained(errors.Join(err, result.Close()))
}

func (c *queryCmd) statement(out *output) (string, error) {
	sql := c.SQL
	if sql == "-" {
		text, err := io.ReadAll(io.LimitReader(out.stdin, schemas.MaxSQL+1))
		if err != nil {
			return "", fmt.Errorf("read SQL from standard input: %w", err)
		}
		sql = string(text)
	}
	switch {
	case strings.TrimSpace(sql) == "":
		return "", errors.New("the SQL is empty")
	case len(sql) > schemas.MaxSQL:
		return "", fmt.Errorf("the SQL has more than %d bytes", schemas.MaxSQL)
	}
	return sql, nil
}

// execute runs the statement to its end. If that does not come, because the user or the clock stops it, the execution is
// cancelled on the server: nobody would fetch its result.
func (c *queryCmd) execute(ctx context.Context, api *client.Client, sql string, out *output) (client.Execution, error) {
	spin := startSpinner(out, "starting")
	defer spin.stop()
	retry := client.Retry{For: min(queryRetry, c.Timeout)}
	// The clock runs only once there is an execution to cancel.
	execution, err := api.StartQuery(ctx, sql, c.Param, retry)
	if err != nil {
		return execution, err
	}
	tooLong := fmt.Errorf("the query did not end within --timeout %v", c.Timeout)
	ctx, done := context.WithTimeoutCause(ctx, c.Timeout, tooLong)
	defer done()
	ended, err := api.FollowQuery(ctx, execution.ExecutionID, retry, func(e client.Execution) {
		what := strings.ToLower(e.State)
		if e.Statistics.ScannedBytes > 0 {
			what += ", " + bytesText(e.Statistics.ScannedBytes) + " scanned,"
		}
		spin.say(what)
	})
	if err == nil || ctx.Err() == nil && !client.Transient(err) {
		return ended, err
	}
	last, giveUp := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer giveUp()
	if cancelErr := api.CancelQuery(last, execution.ExecutionID); cancelErr != nil {
		return ended, fmt.Errorf("%w; cancelling execution %s failed, it may still run: %s", cause(err), execution.ExecutionID, client.Explain(cancelErr))
	}
	return ended, fmt.Errorf("%w; execution %s was cancelled", cause(err), execution.ExecutionID)
}

// cause names an interruption for people.
func cause(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

func (c *queryCmd) show(w io.Writer, result io.Reader, e *client.Execution, out *output) error {
	switch {
	case c.JSON || c.Format == "ndjson":
		_, err := tabular.WriteObjects(w, tabular.NewReader(result, 0))
		return err
	case c.Format == "csv":
		_, err := io.Copy(w, result)
		return err
	}
	table, err := tabular.ReadTable(result)
	if err != nil {
		return err
	}
	style := tabular.Style{}
	if c.Output == "" {
		style = tabular.Style{Width: out.stdoutWidth, Color: out.color && out.stdoutWidth > 0}
	}
	if err := table.Render(w, style); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, footer(table, e))
	return err
}

// footer sums a result up in a line.
func footer(table *tabular.Table, e *client.Execution) string {
	var b strings.Builder
	b.WriteString("(" + plural(table.Total, "row"))
	if left := table.Total - int64(len(table.Rows)); left > 0 {
		fmt.Fprintf(&b, ", %s more not shown: see --format", plural(left, "row"))
	}
	if e.Statistics.ElapsedMilliseconds > 0 {
		b.WriteString(", " + seconds(float64(e.Statistics.ElapsedMilliseconds)/1000))
	}
	if e.Statistics.ScannedBytes > 0 {
		b.WriteString(", " + bytesText(e.Statistics.ScannedBytes) + " scanned")
	}
	if !e.CompleteThrough.IsZero() {
		b.WriteString(", complete through " + e.CompleteThrough.UTC().Format("2006-01-02 15:04:05.000 UTC"))
	}
	return b.String() + ")"
}
