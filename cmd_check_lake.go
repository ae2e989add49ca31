//go:build !frontend

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"penstock/infra/aws"
	"penstock/infra/iceberg"
	"penstock/schemas"
)

// checkScope says what is checked.
type checkScope struct {
	For []string `default:"ingest,index,lake" enum:"ingest,query,index,lake" env:"PENSTOCK_FOR" help:"Whose things to check: those of ingest, of ingest with --routes query, of the index and lake consumers."`
}

func (s *checkScope) isFor(process string) bool { return slices.Contains(s.For, process) }

// lakeProof is of the lake's table: its entry in the catalog, and that it has the columns that the sink writes.
func (*checkScope) lakeProof(p *awsParts, bucket, database string) proof {
	return proof{"Glue table " + database + "." + schemas.LakeTable, func(ctx context.Context) (proven, warning string, err error) {
		files, pointer, err := lakeAt(ctx, p, bucket, database)
		if err != nil {
			return "", "", err
		}
		if err := pointer.Prove(ctx); err != nil {
			return "", "", err
		}
		// It is there, so that it is not made.
		_, err = iceberg.Open(ctx, iceberg.Config{
			Files: files, Pointer: pointer, Admit: func(int64) error { return nil }, Logger: slog.New(slog.DiscardHandler),
		})
		return "has the right columns; was read, and updated with what it has", "", err
	}}
}

// lakeAt are the files of the lake's table, below lake/ in the bucket, and its entry in the catalog. ctx ends every request
// for a file.
func lakeAt(ctx context.Context, p *awsParts, bucket, database string) (*aws.Files, *aws.Pointer, error) {
	files, err := aws.NewFiles(ctx, p.clients.S3, "s3://"+bucket+"/lake/"+schemas.LakeTable)
	if err != nil {
		return nil, nil, err
	}
	pointer, err := aws.NewPointer(p.clients.Glue(), database, schemas.LakeTable, files.Location())
	if err != nil {
		return nil, nil, fmt.Errorf("--database: %w", err)
	}
	return files, pointer, nil
}
