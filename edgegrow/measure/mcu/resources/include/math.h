/* CMSIS-NN includes it, and uses nothing of it. */
