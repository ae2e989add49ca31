package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// peer is one service.
type peer struct {
	name     string
	variable string // the SDK's own, for its endpoint
	health   string // path that answers 200 once it serves
	ports    int    // how many it listens on, 1 or 2
	// command to start it on the ports, of which the first serves; dir is its own, to keep data in. Region and credentials are
	// in the environment: none of the peers knows any others, and only versitygw checks them.
	command func(installed, dir string, ports [2]int) *exec.Cmd
}

// peers in the order of their ports.
var peers = []peer{
	{"kinesis", "AWS_ENDPOINT_URL_KINESIS", "/healthcheck", 2, kinesisMock},
	{"dynamodb", "AWS_ENDPOINT_URL_DYNAMODB", "/", 1, dynalite},
	{"s3", "AWS_ENDPOINT_URL_S3", s3Health, 1, versitygw},
	{"glue", "AWS_ENDPOINT_URL_GLUE", "/moto-api/data.json", 1, moto},
}

// kinesisMock has a second port, for TLS, which can't be had without. Its garbage, the text of every record in several forms, takes
// most of its time unless there is much room for the young.
func kinesisMock(installed, _ string, ports [2]int) *exec.Cmd {
	cmd := exec.Command("node", "--min-semi-space-size=128", "--max-semi-space-size=128", //nolint:noctx // stopped by its group
		"--require", filepath.Join(installed, "loopback.cjs"), "main.js")
	cmd.Dir = filepath.Join(nodeDir(installed), "kinesis-local") // it reads server.json in its working directory
	cmd.Env = append(os.Environ(), "LOG_LEVEL=ERROR", "SHARD_LIMIT=10000",
		"KINESIS_MOCK_PLAIN_PORT="+strconv.Itoa(ports[0]), "KINESIS_MOCK_TLS_PORT="+strconv.Itoa(ports[1]))
	for _, change := range []string{"CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT"} {
		cmd.Env = append(cmd.Env, change+"_DURATION=100ms") // not at once, as on AWS, but not to wait for either
	}
	return cmd
}

func dynalite(installed, _ string, ports [2]int) *exec.Cmd {
	return exec.Command("node", "--require", filepath.Join(installed, "patient.cjs"), //nolint:noctx // stopped by its group
		filepath.Join(nodeDir(installed), "dynalite", "cli.js"),
		"--host", "127.0.0.1", "--port", strconv.Itoa(ports[0]),
		"--createTableMs", "100", "--deleteTableMs", "100", "--updateTableMs", "100")
}

// versitygw is this program once more.
func versitygw(_, dir string, ports [2]int) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0] // starting it will tell
	}
	return exec.Command(self, "s3", "--port", strconv.Itoa(ports[0]), "--dir", dir) //nolint:noctx // stopped by its group
}

func moto(installed, _ string, ports [2]int) *exec.Cmd {
	cmd := exec.Command("python3", "-m", "moto.server", "-H", "127.0.0.1", "-p", strconv.Itoa(ports[0])) //nolint:noctx // stopped by its group
	cmd.Env = append(os.Environ(), "PYTHONPATH="+pythonDir(installed), "PYTHONDONTWRITEBYTECODE=1")
	return cmd
}

// nodeDir is where Node's packages are.
func nodeDir(installed string) string { return filepath.Join(installed, "node_modules") }

// pythonDir is where the Python packages are.
func pythonDir(installed string) string { return filepath.Join(installed, "python") }
