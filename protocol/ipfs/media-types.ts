/** How the trustless gateway specification names one block's bytes, and many blocks in a CAR. */
export const rawMediaType = 'application/vnd.ipld.raw'
export const carMediaType = 'application/vnd.ipld.car'
