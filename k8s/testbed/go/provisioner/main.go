// Command provisioner makes the volumes of a testbed: each is a folder on the machine.
//
// The controller manager has such a provisioner too, but one that only root can use the volumes of:
// kubelet does not change the owner of a host path, and pods run as users of their own.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// Both are set by Kubernetes, or expected by it.
	claimedBy     = "volume.kubernetes.io/storage-provisioner"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
	// How often everything is looked at again, so that what failed is tried again.
	resync = 5 * time.Second
	limit  = 30 * time.Second
)

type provisioner struct {
	name   string
	folder string
	client kubernetes.Interface
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	folder := flag.String("folder", "", "where volumes are made")
	name := flag.String("name", "", "the provisioner's name in storage classes")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	p := &provisioner{name: *name, folder: *folder, client: client}

	factory := informers.NewSharedInformerFactory(client, resync)
	handle(factory.Core().V1().PersistentVolumeClaims().Informer(), p.provision)
	handle(factory.Core().V1().PersistentVolumes().Informer(), p.remove)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
}

// handle calls work for each object that is new, changed, or looked at again.
func handle[T any](informer cache.SharedIndexInformer, work func(context.Context, T) error) {
	act := func(object any) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if typed, ok := object.(T); ok {
			if err := work(ctx, typed); err != nil {
				log.Print(err)
			}
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    act,
		UpdateFunc: func(_, object any) { act(object) },
	})
	if err != nil {
		log.Fatal(err)
	}
}

// provision makes the volume of a claim that asks for one of ours.
func (p *provisioner) provision(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	ours := claim.Annotations[claimedBy] == p.name
	if !ours || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := p.client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, meta.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the class of %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(p.folder, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// The mode above is subject to the umask.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	policy := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: p.name}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeSource:        core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: path}},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1",
				Kind:       "PersistentVolumeClaim",
				Namespace:  claim.Namespace,
				Name:       claim.Name,
				UID:        claim.UID,
			},
		},
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// remove removes a volume of ours that was released and is not to be kept.
func (p *provisioner) remove(ctx context.Context, volume *core.PersistentVolume) error {
	ours := volume.Annotations[provisionedBy] == p.name
	released := volume.Status.Phase == core.VolumeReleased
	if !ours || !released || volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	// Not the path that the object names: that could be any folder of the machine.
	if err := os.RemoveAll(filepath.Join(p.folder, volume.Name)); err != nil {
		return err
	}
	options := meta.DeleteOptions{Preconditions: &meta.Preconditions{UID: &volume.UID}}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, options)
	if errors.IsNotFound(err) || errors.IsConflict(err) {
		return nil
	}
	return err
}
