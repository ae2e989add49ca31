package faultproxy

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"
)

const glueVariable = "AWS_ENDPOINT_URL_GLUE"

// lakeTable is a table in a database of its own.
type lakeTable struct{ database, name string }

func (l lakeTable) input(location string) *types.TableInput {
	return &types.TableInput{Name: &l.name, Parameters: map[string]string{"metadata_location": location}}
}

func (l lakeTable) update(t *testing.T, p *proxied, version, location string) error {
	t.Helper()
	in := &glue.UpdateTableInput{DatabaseName: &l.database, TableInput: l.input(location), SkipArchive: sdk.Bool(true)}
	if version != "" {
		in.VersionId = &version
	}
	_, err := p.glue.UpdateTable(t.Context(), in)
	return err
}

// now is the version and the location.
func (l lakeTable) now(t *testing.T, p *proxied) (version, location string) {
	t.Helper()
	out, err := p.glue.GetTable(t.Context(), &glue.GetTableInput{DatabaseName: &l.database, Name: &l.name})
	if err != nil {
		t.Fatal(err)
	}
	return sdk.ToString(out.Table.VersionId), out.Table.Parameters["metadata_location"]
}

func newLakeTable(t *testing.T, p *proxied) lakeTable {
	t.Helper()
	l := lakeTable{fmt.Sprintf("peer%d", time.Now().UnixNano()), "events"}
	if _, err := p.glue.CreateDatabase(t.Context(), &glue.CreateDatabaseInput{DatabaseInput: &types.DatabaseInput{Name: &l.database}}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.glue.CreateTable(t.Context(), &glue.CreateTableInput{DatabaseName: &l.database, TableInput: l.input("0")}); err != nil {
		t.Fatal(err)
	}
	return l
}

// moto ignores the version that an UpdateTable was based on. Behind the proxy one of many writers wins.
func TestGlueVersionsConform(t *testing.T) {
	t.Parallel()
	endpoint := endpointOf(t, glueVariable)
	peer, lawful := clientsOf(endpoint), before(t, endpoint, GlueVersions())
	l := newLakeTable(t, peer)
	version, _ := l.now(t, peer)
	wantCode(t, "the present version, proxy", l.update(t, lawful, version, "1"), "")
	wantCode(t, "an old version, proxy", l.update(t, lawful, version, "2"), "ConcurrentModificationException")
	wantCode(t, "no version, proxy", l.update(t, lawful, "", "3"), "")
	wantCode(t, "an old version, peer", l.update(t, peer, version, "4"), "")
	if _, location := l.now(t, peer); location != "4" {
		t.Errorf("location %s, want 4", location)
	}

	version, _ = l.now(t, peer)
	var won atomic.Int32
	ended := make(chan error)
	const writers = 16
	for i := range writers {
		go func() { ended <- l.update(t, lawful, version, fmt.Sprint("w", i)) }()
	}
	for range writers {
		if err := <-ended; err == nil {
			won.Add(1)
		} else {
			wantCode(t, "writer", err, "ConcurrentModificationException")
		}
	}
	if won.Load() != 1 {
		t.Errorf("%d writers won, want 1", won.Load())
	}
}

// An UpdateTable lands, its answer is lost, and its retry is told a conflict, which is with itself.
func TestGlueLostAnswerConforms(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, glueVariable), GlueVersions())
	l := newLakeTable(t, p)
	version, _ := l.now(t, p)
	p.Set(Rule{Service: Glue, Operation: "UpdateTable", When: First(1), Do: LoseAnswer()})
	if status, _ := seen(l.update(t, p, version, "mine")); status != 0 {
		t.Fatalf("the client sees %d, want nothing", status)
	}
	wantCode(t, "its retry", l.update(t, p, version, "mine"), "ConcurrentModificationException")
	if _, location := l.now(t, p); location != "mine" {
		t.Errorf("location %s, want mine", location)
	}
}

// What is not there, and what is there twice.
func TestGlueErrorsConform(t *testing.T) {
	t.Parallel()
	peer := clientsOf(endpointOf(t, glueVariable))
	l := newLakeTable(t, peer)
	_, err := peer.glue.CreateDatabase(t.Context(), &glue.CreateDatabaseInput{DatabaseInput: &types.DatabaseInput{Name: &l.database}})
	wantCode(t, "the database again", err, "AlreadyExistsException")
	_, err = peer.glue.CreateTable(t.Context(), &glue.CreateTableInput{DatabaseName: &l.database, TableInput: l.input("0")})
	wantCode(t, "the table again", err, "AlreadyExistsException")
	_, err = peer.glue.GetTable(t.Context(), &glue.GetTableInput{DatabaseName: &l.database, Name: sdk.String("none")})
	wantCode(t, "no table", err, "EntityNotFoundException")
	_, err = peer.glue.GetDatabase(t.Context(), &glue.GetDatabaseInput{Name: sdk.String("none")})
	wantCode(t, "no database", err, "EntityNotFoundException")
	wantCode(t, "update of no table", lakeTable{l.database, "none"}.update(t, peer, "", "0"), "EntityNotFoundException")

	// moto keeps every version, also those that were to be skipped; AWS bounds a parameter to 512,000 bytes.
	wantCode(t, "a long parameter", l.update(t, peer, "", strings.Repeat("x", 600_000)), "")
	out, err := peer.glue.GetTableVersions(t.Context(), &glue.GetTableVersionsInput{DatabaseName: &l.database, TableName: &l.name})
	if status, _ := seen(err); status != http.StatusOK || len(out.TableVersions) != 2 {
		t.Errorf("versions: %v, %v", out, err)
	}
}
