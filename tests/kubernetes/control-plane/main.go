// Command control-plane is kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and etcd in one file: it is
// whichever of them its first argument names. One file is linked once, and its pages are shared by all of them.
//
// It is for tests only, and made of what the projects publish as Go modules, so that no container registry is needed.
package main

import (
	"fmt"
	"io"
	"os"
	_ "time/tzdata" // CronJobs name time zones, and the machine may know none

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // what the programs register themselves
	_ "k8s.io/component-base/metrics/prometheus/version"  // the same
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// With this variable set, a program ends when its standard input does. Whoever started it holds the other end, so that
// nothing is left running when that process is gone, however it ended.
const endWithStdin = "PORTCULLIS_END_WITH_STDIN"

func main() {
	if os.Getenv(endWithStdin) != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	program := ""
	if len(os.Args) > 1 {
		program = os.Args[1]
		// Each program reads its own arguments: what named it is not one of them.
		os.Args = append([]string{program}, os.Args[2:]...)
	}
	switch program {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			// It prints the error and exits with the code that belongs to it.
			kubectlutil.CheckErr(err)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: control-plane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl [argument...]")
		os.Exit(2)
	}
}
