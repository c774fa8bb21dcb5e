// Prints compose files as Docker Compose reads them, with every profile, in JSON; or what is wrong with them.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithOsEnv, cli.WithProfiles([]string{"*"}))
	if err == nil {
		var json []byte
		if project, loading := options.LoadProject(context.Background()); loading != nil {
			err = loading
		} else if json, err = project.MarshalJSON(); err == nil {
			fmt.Println(string(json))
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
