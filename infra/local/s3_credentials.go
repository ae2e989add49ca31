package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// S3Credentials are the key pair of the S3 endpoint.
type S3Credentials struct{ AccessKey, SecretKey string }

// credentialsFile is the AWS shared credentials format
// (https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html), so that S3 clients can use the file as it is.
var credentialsFile = regexp.MustCompile(
	`(?m)\A\[default\]\naws_access_key_id = ([A-Z0-9]{20,})\naws_secret_access_key = ([A-Z0-9]{20,})\n\z`)

// LoadS3Credentials reads the credentials file at path, or makes it with new random keys, readable by its owner alone.
func LoadS3Credentials(path string) (S3Credentials, error) {
	written, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		made := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", rand.Text(), rand.Text())
		if err := replaceFile(path, made); err != nil {
			return S3Credentials{}, fmt.Errorf("write the S3 credentials: %w", err)
		}
		written, err = []byte(made), nil
	}
	if err != nil {
		return S3Credentials{}, fmt.Errorf("read the S3 credentials: %w", err)
	}
	keys := credentialsFile.FindSubmatch(written)
	if keys == nil {
		return S3Credentials{}, fmt.Errorf("%s is not a credentials file of ours: remove it, and a new one is made", path)
	}
	return S3Credentials{AccessKey: string(keys[1]), SecretKey: string(keys[2])}, nil
}

// replaceFile writes the file whole or not at all, also when the power goes, and readable by its owner alone.
func replaceFile(path, content string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
