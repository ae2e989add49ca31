package compose_test

import (
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"penstock/infra/deploy/compose"
)

const (
	root       = "../../.."
	dockerfile = "infra/deploy/Dockerfile"
)

func load(t *testing.T) *compose.Deployment {
	t.Helper()
	d, err := compose.Load(t.Context(), filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// peers by the variable that names their endpoint.
var peers = map[string]string{
	"AWS_ENDPOINT_URL_KINESIS": "kinesis", "AWS_ENDPOINT_URL_DYNAMODB": "dynamodb", "AWS_ENDPOINT_URL_S3": "s3", "AWS_ENDPOINT_URL_GLUE": "glue",
}

func TestServices(t *testing.T) {
	t.Parallel()
	d := load(t)
	want := append([]string{"ingest", "index", "lake", "setup"}, slices.Collect(maps.Values(peers))...)
	if got := slices.Sorted(maps.Keys(d.Project.Services)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("services %q", got)
	}
	for service, replicas := range map[string]int{"ingest": 1, "index": 2, "lake": 2} {
		if p := d.Processes[service]; p.Replicas != replicas {
			t.Errorf("%d of %s, want %d", p.Replicas, service, replicas)
		}
	}
	byStage, _ := stages(t, dockerfile)
	for name, service := range d.Project.Services {
		if b := service.Build; b != nil && (b.Dockerfile != dockerfile || byStage[b.Target] == nil) {
			t.Errorf("%s is built from the stage %q of %s", name, b.Target, b.Dockerfile)
		}
		for _, p := range service.Ports {
			if p.HostIP != "127.0.0.1" || p.Target != 8080 {
				t.Errorf("%s: port %d is published on %q: its keys and credentials are known to everybody", name, p.Target, p.HostIP)
			}
		}
	}
}

// Penstock's processes are as little privileged as can be, may take as long to end as they do, and start when all is there.
func TestProcesses(t *testing.T) {
	t.Parallel()
	d := load(t)
	byStage, _ := stages(t, dockerfile)
	for name := range d.Processes {
		service := d.Project.Services[name]
		if grace := service.StopGracePeriod; grace == nil || time.Duration(*grace) < 90*time.Second {
			t.Errorf("%s is killed after %v: its three steps have 30 s each", name, grace)
		}
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || service.User != "" {
			t.Errorf("%s could do more than it must", name)
		}
		if health := service.HealthCheck.Test[1]; !slices.Equal(entrypoint(t, byStage["penstock"]), []string{health}) {
			t.Errorf("%s has no %s", name, health)
		}
		if service.DependsOn["setup"].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s starts before setup is done", name)
		}
	}
	setup := d.Project.Services["setup"]
	for _, peer := range peers {
		if setup.DependsOn[peer].Condition != types.ServiceConditionHealthy {
			t.Errorf("setup starts before %s serves", peer)
		}
	}
	if got := setup.Environment.ToMapping(); !maps.Equal(got, d.Environment) {
		t.Error("setup has another environment than the others")
	}
}

var asked = regexp.MustCompile(`^http://127\.0\.0\.1:([0-9]+)(/.*)$`)

// Each peer is asked whether it serves at the port at which it is used, with what its image has, at the path that `make stack` asks.
func TestPeers(t *testing.T) {
	t.Parallel()
	d := load(t)
	inStack := read(t, "infra/deploy/stack/peers.go") + read(t, "infra/deploy/stack/s3_server.go")
	for variable, name := range peers {
		endpoint, err := url.Parse(d.Environment[variable])
		if err != nil || endpoint.Hostname() != name {
			t.Errorf("%s=%s, want the service %s", variable, d.Environment[variable], name)
			continue
		}
		check := d.Project.Services[name].HealthCheck
		if check == nil || check.Test[0] != "CMD" || (check.Test[1] != "curl" && check.Test[1] != "wget") {
			t.Errorf("%s: health check %v", name, check)
			continue
		}
		m := asked.FindStringSubmatch(check.Test[len(check.Test)-1])
		if m == nil || m[1] != endpoint.Port() || !strings.Contains(inStack, `"`+m[2]+`"`) {
			t.Errorf("%s is at %s, and asked by %q", name, endpoint, check.Test)
		}
	}
	byStage, _ := stages(t, dockerfile)
	if port := entrypoint(t, byStage["dynalite"]); !strings.HasSuffix(d.Environment["AWS_ENDPOINT_URL_DYNAMODB"], ":"+port[len(port)-1]) {
		t.Errorf("dynalite listens by %q", port)
	}
	s3 := d.Project.Services["s3"].Environment
	for theirs, ours := range map[string]string{
		"ROOT_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY", "VGW_REGION": "AWS_REGION",
	} {
		if v := s3[theirs]; v == nil || *v != d.Environment[ours] {
			t.Errorf("s3 does not know Penstock's %s", ours)
		}
	}
	if v := d.Project.Services["kinesis"].Environment["AWS_REGION"]; v == nil || *v != d.Environment["AWS_REGION"] {
		t.Error("kinesis is in another region than Penstock")
	}
}

// The peers are of the versions that `make stack` runs.
func TestPeerVersions(t *testing.T) {
	t.Parallel()
	d := load(t)
	for name, pinned := range map[string]struct{ image, file, version string }{
		"kinesis": {"ghcr.io/etspaceman/kinesis-mock:", "infra/deploy/stack/peers/package.json", `"kinesis-local": "([0-9.]+)"`},
		"glue":    {"ghcr.io/getmoto/motoserver:", "infra/deploy/stack/peers/requirements.txt", `(?m)^moto\[.*\]==([0-9.]+)$`},
		"s3":      {"ghcr.io/versity/versitygw:", "go.mod", `github.com/versity/versitygw (v[0-9.]+)`},
	} {
		version := regexp.MustCompile(pinned.version).FindStringSubmatch(read(t, pinned.file))
		if image := d.Project.Services[name].Image; len(version) != 2 || image != pinned.image+version[1] {
			t.Errorf("%s is %s; %s has %q", name, image, pinned.file, version)
		}
	}
	byStage, _ := stages(t, dockerfile)
	dynalite := byStage["dynalite"]
	if from := rest(dynalite, "COPY"); !strings.HasPrefix(from, "infra/deploy/stack/peers/ ") || !strings.HasPrefix(rest(dynalite, "RUN"), "npm ci ") {
		t.Errorf("dynalite is not installed from the lock file of `make stack`: COPY %s", from)
	}
}

func TestWith(t *testing.T) {
	t.Parallel()
	d := load(t)
	environment, err := d.With(map[string]string{"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
	if err != nil || len(environment) != len(d.Environment) || !slices.Contains(environment, "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1") ||
		!slices.Contains(environment, "AWS_ENDPOINT_URL_GLUE="+d.Environment["AWS_ENDPOINT_URL_GLUE"]) {
		t.Errorf("%q, %v", environment, err)
	}
	if _, err := d.With(map[string]string{"AWS_ENDPOINT_URL_S4": "http://127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "S4") {
		t.Errorf("a variable that the file does not set: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const service = `  NAME:
    build: {context: ., target: penstock}
    command: [ingest]
    environment: {ENVIRONMENT}
    healthcheck: {test: [CMD, /penstock, ready]}
`
	one := strings.NewReplacer("NAME", "one", "ENVIRONMENT", "A: 1").Replace(service)
	for want, text := range map[string]string{
		"two: its environment differs": one + strings.NewReplacer("NAME", "two", "ENVIRONMENT", "A: 2").Replace(service),
		"A has no value":               strings.NewReplacer("NAME", "one", "ENVIRONMENT", "A:").Replace(service),
		"its health check must be":     strings.Replace(one, "/penstock", "curl", 1),
		"no service is built":          strings.Replace(one, "target: penstock", "target: other", 1),
		"services.one.comand":          strings.Replace(one, "command", "comand", 1),
		"no such file or directory":    "",
	} {
		file := filepath.Join(t.TempDir(), "docker-compose.yml")
		if text != "" {
			if err := os.WriteFile(file, []byte("name: test\nservices:\n"+text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := compose.Load(t.Context(), file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
