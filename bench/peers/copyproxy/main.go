// Command copyproxy copies packages as the existing implementation in Go does. A hit copies a file to the client through a
// wrapped reader. A miss copies the body of the registry to the client and to a temporary file, which is renamed at the
// end. Each client that misses sends its own request to the registry. Only -verify checks digests.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

type proxy struct {
	directory string
	upstream  string
	client    *http.Client
	verifies  bool
}

// plainReader hides the other methods of its reader, as a reader that counts or logs does. So there is no sendfile.
type plainReader struct{ io.Reader }

func main() {
	directory := flag.String("directory", "", "directory of the cached files; the name of a file is the hexadecimal part of the requested digest")
	upstream := flag.String("upstream", "", "http://HOST/v2/REPOSITORY")
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	verifies := flag.Bool("verify", false, "verify the digest of a miss, and withhold the end of the answer until then")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	handler := &proxy{directory: *directory, upstream: *upstream, client: &http.Client{}, verifies: *verifies}
	fmt.Fprintln(os.Stderr, http.Serve(listener, handler))
	os.Exit(1)
}

func (p *proxy) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if request.URL.Path == "/healthz" {
		fmt.Fprintln(response, "ok")
		return
	}
	digest := request.URL.Query().Get("digest")
	name, isDigest := strings.CutPrefix(digest, "sha256:")
	if !isDigest || strings.ContainsAny(name, "/.") {
		http.Error(response, "bad digest", http.StatusBadRequest)
		return
	}
	path := filepath.Join(p.directory, name)
	file, err := os.Open(path)
	if err == nil {
		defer file.Close()
		hit(response, file)
		return
	}
	if err := p.miss(response, digest, path); err != nil {
		// The status is sent already, so the client gets a short body.
		panic(http.ErrAbortHandler)
	}
}

func hit(response http.ResponseWriter, file *os.File) {
	stats, err := file.Stat()
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	response.Header().Set("Content-Type", "application/octet-stream")
	response.Header().Set("Content-Length", strconv.FormatInt(stats.Size(), 10))
	io.Copy(onlyWriter{response}, plainReader{file})
}

func (p *proxy) miss(response http.ResponseWriter, digest, path string) error {
	layer, err := p.lastLayer(digest)
	if err != nil {
		return err
	}
	blob, err := p.client.Get(p.upstream + "/blobs/" + layer)
	if err != nil {
		return err
	}
	defer blob.Body.Close()
	if blob.StatusCode != http.StatusOK {
		return errors.New(blob.Status)
	}
	temporary, err := os.CreateTemp(p.directory, ".arriving-")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	defer temporary.Close()
	response.Header().Set("Content-Type", "application/octet-stream")
	response.Header().Set("Content-Length", strconv.FormatInt(blob.ContentLength, 10))
	body := io.TeeReader(blob.Body, temporary)
	if p.verifies {
		err = copyVerified(response, body, blob.ContentLength, layer)
	} else {
		_, err = io.Copy(onlyWriter{response}, body)
	}
	if err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// copyVerified copies as io.Copy does, but sends the last piece only after it has verified the digest.
func copyVerified(to io.Writer, from io.Reader, length int64, digest string) error {
	sum := sha256.New()
	buffer := make([]byte, 32<<10)
	for copied := int64(0); ; {
		count, err := from.Read(buffer)
		piece := buffer[:count]
		sum.Write(piece)
		copied += int64(count)
		if copied == length && "sha256:"+hex.EncodeToString(sum.Sum(nil)) != digest {
			return errors.New("wrong digest of the body")
		}
		if _, err := to.Write(piece); err != nil {
			return err
		}
		if copied == length {
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

func (p *proxy) lastLayer(digest string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, p.upstream+"/manifests/"+digest, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	answer, err := p.client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", errors.New(answer.Status)
	}
	var manifest struct{ Layers []struct{ Digest string } }
	if err := json.NewDecoder(answer.Body).Decode(&manifest); err != nil {
		return "", err
	}
	if len(manifest.Layers) == 0 {
		return "", errors.New("image has no layers")
	}
	return manifest.Layers[len(manifest.Layers)-1].Digest, nil
}

// onlyWriter hides ReadFrom, which would use its own buffer or sendfile.
type onlyWriter struct{ io.Writer }
