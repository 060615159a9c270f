package web

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
)

// asset is the address of an embedded file. It changes with the file's content, so that a browser may keep what it
// has for ever and never mixes the files of two builds.
func asset(name string) (string, error) {
	sum, err := assetSum(name)
	return "/static/" + name + "?v=" + sum, err
}

func assetSum(name string) (string, error) {
	b, err := files.ReadFile("static/" + name)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6]), err
}

// static serves what is embedded.
func static() http.Handler {
	sub, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // it is embedded
	}
	serve := http.FileServerFS(sub)
	return http.StripPrefix("/static/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sum, err := assetSum(r.URL.Path); err == nil && r.URL.Query().Get("v") == sum {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		serve.ServeHTTP(w, r)
	}))
}
