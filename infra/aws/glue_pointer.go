//go:build !frontend

package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"

	"penstock/ingest"
)

// Parameters by which everybody who knows Iceberg finds a table in Glue; pyiceberg, Athena and Iceberg's own Java library use
// these names. The table's own properties, its offsets among them, stay in its metadata file: each commit sends all
// parameters, and a value may have 512,000 bytes at most
// (https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html).
const (
	glueTableType        = "table_type"
	glueMetadataLocation = "metadata_location"
	gluePreviousLocation = "previous_metadata_location"

	glueIceberg       = "ICEBERG"
	glueExternalTable = "EXTERNAL_TABLE"
)

const (
	// glueTime bounds one request, all tries of a reading one together.
	glueTime = 10 * time.Second
	// swapTries bounds how often one swap asks for the same update; the waits between them grow from swapWait.
	swapTries = 5
	swapWait  = 50 * time.Millisecond
)

// Errors of Pointer.
var (
	// ErrForeignTable: what has the lake table's name in Glue is no Iceberg table.
	ErrForeignTable = errors.New("it is not an Iceberg table")

	errNoVersion = errors.New("no VersionId from Glue, without which a commit can't be fenced")
)

// glueName is what Athena takes without quotes (https://docs.aws.amazon.com/athena/latest/ug/tables-databases-columns-names.html).
var glueName = regexp.MustCompile(`^[a-z0-9_]{1,255}$`)

// Pointer is the lake's catalog: the Glue table whose parameter names the table's current metadata file.
type Pointer struct {
	client          *glue.Client
	database, table string
	location        string
}

// NewPointer makes the pointer of one table, whose files are in location, an s3:// URI. It talks to nobody yet. Database and
// table are made by the first Swap.
func NewPointer(client *glue.Client, database, table, location string) (*Pointer, error) {
	for _, name := range []string{database, table} {
		if !glueName.MatchString(name) {
			return nil, fmt.Errorf("name %q of a database or table in Glue: want 1 to 255 of a-z, 0-9 and _", name)
		}
	}
	return &Pointer{client: client, database: database, table: table, location: location}, nil
}

// Load returns the location of the table's metadata file, "" when there is no table.
func (p *Pointer) Load(ctx context.Context) (string, error) {
	t, err := p.get(ctx)
	if err != nil || t == nil {
		return "", err
	}
	return t.Parameters[glueMetadataLocation], nil
}

// Swap sets the location to next if it is prev ("": if there is no table), and reports whether it did. An update carries the
// VersionId of the table that was read, which Glue holds to, so one of several that were built on the same version lands.
//
// After an error the outcome may be either; but an update that is on its way can't land any more once the location is not prev.
// ConcurrentModificationException is such an error too: whoever repeated the request on the way may have met his own success.
func (p *Pointer) Swap(ctx context.Context, prev, next string) (bool, error) {
	if prev == "" {
		return p.create(ctx, next)
	}
	// The same update again is harmless whatever became of the one before: both can't land, and they mean the same.
	var failed error
	for try, wait := 1, swapWait; ; try, wait = try+1, 2*wait {
		t, err := p.get(ctx)
		if err != nil {
			return false, errors.Join(failed, err)
		}
		now := ""
		if t != nil {
			now = t.Parameters[glueMetadataLocation]
		}
		switch {
		case now == next:
			return true, nil
		case now != prev && failed != nil:
			return false, fmt.Errorf("%s is at %q by now: %w", p, now, failed)
		case now != prev:
			return false, nil
		}
		if failed = p.update(ctx, t, next); failed == nil {
			return true, nil
		}
		if !worthAnotherTry(failed) || try == swapTries {
			return false, failed
		}
		if err := pause(ctx, wait/2+rand.N(wait)); err != nil {
			return false, errors.Join(failed, err)
		}
	}
}

// worthAnotherTry: an update that ended with err may land if it is sent again.
func worthAnotherTry(err error) bool {
	return errors.Is(err, ingest.ErrThrottled) || errors.Is(err, ingest.ErrAmbiguous) ||
		hasCode(err, "ConcurrentModificationException")
}

// String names the table.
func (p *Pointer) String() string { return fmt.Sprintf("Glue table %s.%s", p.database, p.table) }

// advised adds what to do about an error of Glue; nil stays nil.
func (p *Pointer) advised(err error, action string) error {
	if err == nil {
		return nil
	}
	return advised(err, p.client.Options().Region, action)
}

// get reads the table, nil when there is none.
func (p *Pointer) get(ctx context.Context) (*types.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, glueTime)
	defer cancel()
	out, err := p.client.GetTable(ctx, &glue.GetTableInput{DatabaseName: &p.database, Name: &p.table})
	switch {
	case hasCode(err, "EntityNotFoundException"):
		return nil, nil //nolint:nilnil // no table is an answer
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", p, p.advised(err, "glue:GetTable"))
	}
	parameters := out.Table.Parameters
	if kind := parameters[glueTableType]; !strings.EqualFold(kind, glueIceberg) || parameters[glueMetadataLocation] == "" {
		return nil, fmt.Errorf("%s: %w (%s %q, %s %q): drop it, or give the lake another name",
			p, ErrForeignTable, glueTableType, kind, glueMetadataLocation, parameters[glueMetadataLocation])
	}
	return out.Table, nil
}

// update makes next the location if the table is still the version that t is. What else others have put into the table stays.
func (p *Pointer) update(ctx context.Context, t *types.Table, next string) error {
	parameters := maps.Clone(t.Parameters)
	parameters[gluePreviousLocation] = t.Parameters[glueMetadataLocation]
	parameters[glueMetadataLocation] = next
	return p.send(ctx, t, parameters)
}

// send gives the table, if it is still the version that t is, these parameters.
func (p *Pointer) send(ctx context.Context, t *types.Table, parameters map[string]string) error {
	if sdk.ToString(t.VersionId) == "" {
		return fmt.Errorf("%s: %w", p, errNoVersion)
	}
	input := &types.TableInput{
		Name: t.Name, Description: t.Description, Owner: t.Owner, Retention: t.Retention,
		TableType: t.TableType, Parameters: parameters, StorageDescriptor: t.StorageDescriptor,
	}
	ctx, cancel := context.WithTimeout(ctx, glueTime)
	defer cancel()
	_, err := p.client.UpdateTable(ctx, &glue.UpdateTableInput{
		DatabaseName: &p.database, TableInput: input, VersionId: t.VersionId,
		// Versions of a table in Glue are limited, and Iceberg has its own.
		SkipArchive: sdk.Bool(true),
	}, glueOnce)
	if err = outcome(err); err != nil {
		return fmt.Errorf("commit to %s: %w", p, p.advised(err, "glue:UpdateTable"))
	}
	return nil
}

// create makes the table, and its database if that is missing. False: somebody else has made it.
func (p *Pointer) create(ctx context.Context, next string) (bool, error) {
	err := p.createTable(ctx, next)
	if hasCode(err, "EntityNotFoundException") { // there is no database
		if err = p.createDatabase(ctx); err == nil {
			err = p.createTable(ctx, next)
		}
	}
	switch {
	case hasCode(err, "AlreadyExistsException"):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("create %s: %w", p, err)
	}
	return true, nil
}

func (p *Pointer) createTable(ctx context.Context, next string) error {
	ctx, cancel := context.WithTimeout(ctx, glueTime)
	defer cancel()
	_, err := p.client.CreateTable(ctx, &glue.CreateTableInput{DatabaseName: &p.database, TableInput: &types.TableInput{
		Name: &p.table, TableType: sdk.String(glueExternalTable),
		Parameters:        map[string]string{glueTableType: glueIceberg, glueMetadataLocation: next},
		StorageDescriptor: &types.StorageDescriptor{Columns: glueColumns(), Location: &p.location},
	}}, glueOnce) // or a lost answer would be told AlreadyExistsException, as if by somebody else
	return p.advised(outcome(err), "glue:CreateTable")
}

// createDatabase makes the database, or finds that somebody else has.
func (p *Pointer) createDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, glueTime)
	defer cancel()
	_, err := p.client.CreateDatabase(ctx, &glue.CreateDatabaseInput{DatabaseInput: &types.DatabaseInput{Name: &p.database}})
	if err != nil && !hasCode(err, "AlreadyExistsException") {
		return fmt.Errorf("create its database: %w", p.advised(err, "glue:CreateDatabase"))
	}
	return nil
}

// glueOnce switches the SDK's retries off, so that no answer is one to a repeated request.
func glueOnce(o *glue.Options) { o.Retryer = once() }
