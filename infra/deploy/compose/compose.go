// Package compose reads docker-compose.yml, so that Penstock's processes can be started without a container engine as that file
// says: `make stack` takes their environment from it, and the end-to-end test their command lines too.
//
// It may import compose-go, and nothing of Penstock.
package compose

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// program is the stage of the Dockerfile, and the file in its image, of Penstock's own services.
const (
	program     = "penstock"
	programFile = "/" + program
)

// Deployment is what a compose file says.
type Deployment struct {
	// Processes are Penstock's own, by the name of their service.
	Processes map[string]Process
	// Environment is that of all of them.
	Environment map[string]string
	// Project is the whole file.
	Project *types.Project
}

// Process is one of Penstock's services.
type Process struct {
	// Args is its command line behind the program's name. Files that the service mounts are named as they are called here.
	Args []string
	// Health is the command line of its health check, likewise.
	Health []string
	// Replicas is how many of it run.
	Replicas int
}

// Load reads a compose file. Nothing of it depends on the environment of the reader.
func Load(ctx context.Context, path string) (*Deployment, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("compose file: %w", err)
	}
	project, err := loader.LoadWithContext(ctx, types.ConfigDetails{
		WorkingDir: filepath.Dir(path), ConfigFiles: []types.ConfigFile{{Filename: path}},
	})
	if err != nil {
		return nil, fmt.Errorf("compose file %s: %w", path, err)
	}
	d := &Deployment{Processes: map[string]Process{}, Project: project}
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		service := project.Services[name]
		if service.Build == nil || service.Build.Target != program {
			continue
		}
		if d.Processes[name], err = process(project, &service); err != nil {
			return nil, fmt.Errorf("compose file %s: %s: %w", path, name, err)
		}
		environment := map[string]string{}
		for variable, value := range service.Environment {
			if value == nil {
				return nil, fmt.Errorf("compose file %s: %s: %s has no value, and would be the reader's own", path, name, variable)
			}
			environment[variable] = *value
		}
		if d.Environment != nil && !maps.Equal(d.Environment, environment) {
			return nil, fmt.Errorf("compose file %s: %s: its environment differs from that of the others: "+
				"what only one process needs belongs into its command line", path, name)
		}
		d.Environment = environment
	}
	if len(d.Processes) == 0 {
		return nil, fmt.Errorf("compose file %s: no service is built from the stage %q", path, program)
	}
	return d, nil
}

func process(project *types.Project, service *types.ServiceConfig) (Process, error) {
	p := Process{Args: slices.Clone([]string(service.Command)), Replicas: service.GetScale()}
	for _, mounted := range service.Configs {
		for i, arg := range p.Args {
			if arg == mounted.Target {
				p.Args[i] = project.Configs[mounted.Source].File
			}
		}
	}
	if service.HealthCheck == nil || len(service.HealthCheck.Test) < 3 || service.HealthCheck.Test[0] != "CMD" ||
		service.HealthCheck.Test[1] != programFile {
		return p, fmt.Errorf("its health check must be one of %s's own commands, since the image has no other program", programFile)
	}
	p.Health = service.HealthCheck.Test[2:]
	return p, nil
}

// With is the environment with other values, as NAME=VALUE in order. A variable that the file does not set is an error: whoever
// runs by the file would do without it.
func (d *Deployment) With(values map[string]string) ([]string, error) {
	environment := maps.Clone(d.Environment)
	for variable, value := range values {
		if _, ok := environment[variable]; !ok {
			return nil, fmt.Errorf("the compose file does not set %s for Penstock's services", variable)
		}
		environment[variable] = value
	}
	var list []string
	for _, variable := range slices.Sorted(maps.Keys(environment)) {
		list = append(list, variable+"="+environment[variable])
	}
	return list, nil
}
