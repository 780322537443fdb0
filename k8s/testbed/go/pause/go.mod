// The sandbox process of every pod: it holds the pod's namespaces and does nothing.
module mongodb-osb.io/testbed/pause

go 1.26.0
