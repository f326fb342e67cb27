// Package controllers has all that Cilium takes of a module that is not always to be had: a name, for ServiceImports.
package controllers

// DerivedServiceAnnotation names the Service of a ServiceImport.
const DerivedServiceAnnotation = "multicluster.kubernetes.io/derived-service"
