package local

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestS3Credentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "s3-credentials")
	made, err := LoadS3Credentials(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadS3Credentials(path)
	if err != nil || again != made {
		t.Errorf("loaded %+v, %v; made %+v", again, err, made)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the file is %v; want it to be its owner's alone", info.Mode())
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// As AWS_SHARED_CREDENTIALS_FILE wants it.
	if want := "[default]\naws_access_key_id = " + made.AccessKey + "\naws_secret_access_key = " + made.SecretKey + "\n"; string(written) != want {
		t.Errorf("the file is %q, want %q", written, want)
	}
	other, err := LoadS3Credentials(filepath.Join(dir, "other"))
	if err != nil || other.AccessKey == made.AccessKey || other.SecretKey == made.SecretKey || made.AccessKey == made.SecretKey {
		t.Errorf("another directory's keys are %+v, %v; these %+v", other, err, made)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("in the directory is %v, %v; want the two files alone", left, err)
	}

	// What somebody has changed is neither obeyed nor overwritten.
	for name, content := range map[string]string{
		"empty":      "",
		"cut off":    strings.TrimSuffix(string(written), made.SecretKey[3:]+"\n"),
		"no secret":  "[default]\naws_access_key_id = " + made.AccessKey + "\naws_secret_access_key = \n",
		"more":       string(written) + "region = eu-west-1\n",
		"foreign":    "[other]" + strings.TrimPrefix(string(written), "[default]"),
		"lower case": strings.ToLower(string(written)),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadS3Credentials(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != content {
			t.Errorf("%s: the file was changed to %q, %v", name, now, err)
		}
	}
	if _, err := LoadS3Credentials(filepath.Join(dir, "missing", "s3-credentials")); err == nil {
		t.Error("made in a directory that is not there")
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), fs.ModePerm); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadS3Credentials(filepath.Join(dir, "dir")); err == nil {
		t.Error("read from a directory")
	}
}
